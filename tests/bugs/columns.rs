//! In the kernel for a class axis that is not the last.

use xent_simulator::Kind;

use super::{Bug, WRONG, bug};

pub const BUGS: &[Bug] = &[
    bug(
        "a merge too few",
        "columns",
        ["end >= Shape::kColumns; end /= 2", "end > Shape::kColumns; end /= 2"],
        WRONG,
    ),
    bug(
        "no barrier before parts are merged",
        "columns",
        [
            "  using RowPart = Part<Target, kOptions>;\n  __syncthreads();\n",
            "  using RowPart = Part<Target, kOptions>;\n",
        ],
        &[Kind::Race, Kind::Uninitialised],
    ),
    bug(
        "no barrier after a tile is laid out",
        "columns",
        ["tile[lane] = own;\n  __syncthreads();", "tile[lane] = own;"],
        &[Kind::Race, Kind::Uninitialised],
    ),
    bug(
        "an ignored column has a gradient",
        "columns",
        ["g[i] = live >> i & 1 ? g[i] : 0;", "g[i] = g[i];"],
        WRONG,
    ),
    bug(
        "gradients by the classes of logits",
        "columns",
        ["at += Shape::kGroups * p.dlogits_class;", "at += Shape::kGroups * p.logits_class;"],
        &[Kind::Race],
    ),
    bug(
        "all groups keep logits in one place",
        "columns",
        ["&kept[thread]);", "&kept[lane]);"],
        &[Kind::Race],
    ),
    bug(
        "offsets of classes of 32 bits",
        "columns",
        [
            "const Logit* at = logits + class_of(k) * p.logits_class;",
            "const Logit* at = logits + static_cast<i32>(class_of(k) * p.logits_class);",
        ],
        WRONG,
    ),
    bug(
        "a column before the first",
        "columns",
        [
            "inside = exists ? (1 << end) - (1 << before) : 0;",
            "inside = exists ? (1 << end) - (1 << before) | 1 : 0;",
        ],
        &[Kind::OutOfBounds],
    ),
    bug(
        "the classes that are left over",
        "columns",
        [
            "count = (p.rows.classes + (kGroups - 1) - group) / kGroups;",
            "count = p.rows.classes / kGroups;",
        ],
        &[Kind::Uninitialised],
    ),
    bug(
        "the target of a column before its neighbours",
        "columns",
        ["if constexpr (kStoresTarget) {\n    __syncthreads();", "if constexpr (kStoresTarget) {"],
        &[Kind::Race],
    ),
    bug(
        "no column is faint",
        "columns",
        ["if (!is_faint(part.s, p.rows.classes)) return;", "return;"],
        WRONG,
    ),
    bug(
        "rows counted by whole vectors",
        "columns",
        ["return outer * p.inner + first + i;", "return outer * p.vectors * kWidth + first + i;"],
        &[Kind::OutOfBounds],
    ),
];
