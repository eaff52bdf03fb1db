//! In the kernels that keep a row in registers.

use xent_simulator::Kind;

use super::{Bug, WRONG, bug};

pub const BUGS: &[Bug] = &[
    bug(
        "a peer's shared memory before it starts",
        "cluster of 2",
        ["if constexpr (kCtas > 1) cluster_wait();  // all have started", ";  // all have started"],
        &[Kind::Cluster, Kind::Barrier],
    ),
    bug(
        "a cluster's parts without order",
        "cluster of 2",
        ["barrier.cluster.arrive.release.aligned;", "barrier.cluster.arrive.relaxed.aligned;"],
        &[Kind::Race],
    ),
    bug(
        "no wait for a cluster's parts",
        "cluster of 2",
        ["cluster_arrive();\n      cluster_wait();", "cluster_arrive();"],
        &[Kind::Race, Kind::Uninitialised],
    ),
    bug(
        "one CTA of a cluster says that it has started",
        "cluster of 2",
        [
            "if constexpr (kCtas > 1) cluster_started();",
            "if constexpr (kCtas > 1) { if (cluster_rank() == 0) cluster_started(); }",
        ],
        &[Kind::Deadlock, Kind::Barrier],
    ),
    bug(
        "one vector too many",
        "block",
        ["return j < (end ^ static_cast<i32>(zero))", "return j <= (end ^ static_cast<i32>(zero))"],
        &[Kind::OutOfBounds],
    ),
    bug(
        "what is beside a partial vector is read",
        "block",
        [
            "return load_pieces<T>(span.address(j), inside.pieces(), padding);",
            "return load16(span.address(j));",
        ],
        &[Kind::OutOfBounds],
    ),
    bug(
        "ignored rows are read",
        "block",
        ["!(p.flags & kIgnore && y == p.ignore_index);", "true;"],
        WRONG,
    ),
    bug(
        "an element with its neighbour's bits",
        "block",
        ["x[1] = __uint_as_float(word & 0xffff0000);", "x[1] = __uint_as_float(word);"],
        WRONG,
    ),
    bug(
        "a row without a beginning in its warp",
        "lanes of 4",
        ["return yes && before >> begin == 0;", "return yes && before >> 0 * begin == 0;"],
        WRONG,
    ),
    bug(
        "one row too many",
        "lanes of 8",
        ["const bool exists = row < p.rows;", "const bool exists = row <= p.rows;"],
        &[Kind::OutOfBounds],
    ),
    bug(
        "lanes of no row leave before a shuffle",
        "lanes of 8",
        ["if (Group::kAlone && !exists) return;", "if (!exists) return;"],
        &[Kind::Mask, Kind::Deadlock],
    ),
    bug(
        "lanes of an ignored row leave before a shuffle",
        "lanes of 8",
        ["if constexpr (Group::kAlone) return;", "return;"],
        &[Kind::Mask, Kind::Deadlock],
    ),
    bug(
        "the exponentials of another vector",
        "lanes of 4",
        [
            "writer.write_powers(factors, powers[k],",
            "writer.write_powers(factors, powers[kVectors - 1 - k],",
        ],
        WRONG,
    ),
    bug(
        "a shuffle beyond the row",
        "lanes of 8",
        [
            "merge_lanes<Target, kOptions, kLanes>(own.part(adder.squash), adder.squash);",
            "merge_lanes<Target, kOptions, kWarp>(own.part(adder.squash), adder.squash);",
        ],
        WRONG,
    ),
    bug(
        "the padding is 0",
        "lanes of 8",
        [
            "v[k] = make_uint4(padding, padding, padding, padding);",
            "v[k] = make_uint4(0, 0, 0, 0);",
        ],
        WRONG,
    ),
    bug(
        "the last vector is written where it is kept",
        "block",
        ["return k == kVectors - 1 && ends ? end : first", "return first"],
        &[Kind::Uninitialised],
    ),
    bug(
        "the class of a last vector by where it is kept",
        "block",
        [
            "return moves ? element - (span.element(last) - span.element(end)) : element;",
            "return moves ? element : element;",
        ],
        WRONG,
    ),
    bug(
        "the last vector belongs to nobody",
        "cluster of 2",
        [
            "return first == static_cast<i32>(kLast);",
            "return first == static_cast<i32>(kLast + 1);",
        ],
        &[Kind::Uninitialised],
    ),
    bug(
        "each thread writes the gradient of the target",
        "cluster of 2",
        ["if (owns_target) writer.write_target(", "if (target.index >= 0) writer.write_target("],
        &[Kind::Race],
    ),
    bug(
        "each thread writes the results of a row",
        "block",
        ["target.index >= 0 ? owns_target : is_first", "target.index >= 0 || is_first"],
        &[Kind::Race],
    ),
    bug(
        "a faint row is overwritten before all have read it",
        "lanes of 8",
        ["    __syncwarp();\n    return all;", "    return all;"],
        &[Kind::Race],
    ),
    bug(
        "a faint row is overwritten before all CTAs have read it",
        "cluster of 2",
        [
            "const FaintSums sums = Group::reduce(own, FaintSums::plus);",
            "const FaintSums sums = own;",
        ],
        &[Kind::Race],
    ),
    bug(
        "an ignored row by each CTA of a cluster",
        "cluster of 2",
        [
            "writer.fill(0, thread, Group::kCluster * Group::kThreads);",
            "writer.fill(0, Group::thread(), Group::kThreads);",
        ],
        &[Kind::Race],
    ),
];
