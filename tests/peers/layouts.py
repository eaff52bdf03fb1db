"""Prints the structs of the ctypes binding as tests/c/layouts.c prints those of the header."""

import ctypes

import xent

STRUCTS = {
    "xent_context_options": xent.ContextOptions, "xent_problem": xent.Problem, "xent_args": xent.Args,
    "xent_backward_args": xent.BackwardArgs, "xent_workspace": xent.WorkspaceMemory}

for name, struct in STRUCTS.items():
    print(name, ctypes.sizeof(struct))
    for field, *_ in struct._fields_:
        at = getattr(struct, field)
        print(f"  {field} {at.offset} {at.size}")
