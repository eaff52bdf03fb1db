"""A report as text: each shape in a line, against peers and goals; and each contender in a line, with its
bandwidth and errors."""


def text(report, limits):
    """limits: seconds of each limit by shape."""
    contenders = dict.fromkeys(result["contender"] for result in report["results"])
    peers = [contender for contender in contenders if contender != "xent"]
    protocol, device = report["protocol"], report["device"]
    on = f"{device['threads']} thread(s) of {device['name']}" if "threads" in device else device["name"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report["versions"].items()))
    lines = [
        report["command"],
        f"{report['created']}, {versions}",
        f"medians of {protocol['rounds']} rounds, all contenders in turn; inputs of seed {protocol['seed']}",
        *[f"missing: {of['contender']}: {of['reason']}" for of in report["missing"]],
        f"\nLoss and gradient on {on}: milliseconds, and multiples of xent",
        against_peers(report, "fused", peers, "copy", limits.get("copy", {})),
        f"\nLoss alone on {on}",
        against_peers(report, "forward", peers, "read", limits.get("read", {})),
        "\nEach by itself: bandwidth, and the largest errors against float64",
        of_contenders(report),
    ]
    return "\n".join(lines)


def goals(dtype, classes):
    """At least so many times as fast on the CPU: loss and gradient against PyTorch's best and JAX, the loss
    alone against PyTorch's best."""
    if classes < 100:
        return {("torch best", "fused"): 6 if dtype == "f32" else 20}
    if classes < 10000:
        return {("torch best", "forward"): 5}
    found = {("torch best", "fused"): 5 if dtype == "f32" else 6, ("torch best", "forward"): 5}
    return found | ({("jax", "fused"): 7} if dtype == "f32" else {})


def times_as_fast(ours, theirs, goal):
    if not ours or not theirs:
        return "-"
    ratio = theirs / ours
    if goal is None:
        return f"{ratio:.1f}x"
    return f"{ratio:.1f}x >= {goal}x {'ok' if ratio >= goal else 'missed':6}"


def milliseconds(seconds):
    return f"{1e3 * seconds:#.3g}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def median(result):
    return result["seconds"]["median"] if result and result["seconds"] else None


def of_shapes(report):
    """Results by shape, and in each by contender and mode."""
    shapes = {}
    for result in report["results"]:
        shape = result["dtype"], result["classes"], result["rows"]
        shapes.setdefault(shape, {})[result["contender"], result["mode"]] = result
    return shapes


def against_peers(report, mode, peers, limit_name, limit_of):
    header = ["type", "classes", "rows", limit_name, "xent", f"xent/{limit_name}", *peers,
              *[f"{peer}/xent" for peer in peers]]
    lines = []
    for shape, found in of_shapes(report).items():
        goal_of = goals(*shape[:2]) if report["device"]["kind"] == "cpu" else {}
        ours, limit = median(found.get(("xent", mode))), limit_of.get(shape)
        theirs = [found.get((peer, mode)) for peer in peers]
        lines.append([
            *map(str, shape),
            milliseconds(limit) if limit else "-",
            cell(found.get(("xent", mode))),
            f"{ours / limit:.2f}" if ours and limit else "-",
            *map(cell, theirs),
            *[times_as_fast(ours, median(result), goal_of.get((peer, mode)))
              for peer, result in zip(peers, theirs)]])
    return table(header, lines)


def cell(result):
    if result is None:
        return "-"
    return "wrong" if result["wrong"] else milliseconds(median(result))


def of_contenders(report):
    header = ["contender", "mode", "type", "classes", "rows", "ms", "GB/s", "of copy", "loss ulp",
              "gradient ulp", ""]
    form = lambda number, how: "-" if number is None else format(number, how)
    lines = []
    for result in report["results"]:
        error = result["error"] or {"loss": None, "gradient": None}
        lines.append([
            *[str(result[name]) for name in ["contender", "mode", "dtype", "classes", "rows"]],
            cell(result), form(result["gb_per_s"], ".1f"), form(result["of_copy"], ".0%"),
            form(error["loss"], ".3g"), form(error["gradient"], ".3g"),
            f"wrong: {result['wrong']}" if result["wrong"] else ""])
    return table(header, lines)


def table(header, rows):
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip()
                     for row in [header, *rows])
