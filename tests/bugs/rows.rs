//! In what rows have in common, and in the kernel that streams them.

use xent_simulator::Kind;

use super::{Bug, WRONG, bug};

pub const BUGS: &[Bug] = &[
    bug(
        "no gradient but at the target",
        "stream",
        ["f.of_p = static_cast<float>((hit + others) * f.p_max * slope);", "f.of_p = 0;"],
        WRONG,
    ),
    bug(
        "the last column is not written",
        "stream",
        [
            "if (i >= inside.low && i < inside.high) store(",
            "if (i >= inside.low && i + 1 < inside.high) store(",
        ],
        &[Kind::Uninitialised],
    ),
    bug(
        "a partial vector counts twice",
        "stream",
        [
            "if (j >= 0 && j % threads == thread) f(j);",
            "if (j >= 0 && j % threads == thread) f(j), f(j);",
        ],
        WRONG,
    ),
    bug(
        "the loss is lse - z",
        "stream",
        [
            "times(target.weight, log1p_s - t)",
            "times(target.weight, softmax.lse(squash) - squash.z(x))",
        ],
        WRONG,
    ),
    bug(
        "smoothing from the sum of z",
        "stream",
        [
            "p.scaled_by(&Scales::weight_sum) * log1p_s + part.distance;",
            "p.scaled_by(&Scales::weight_sum) * softmax.lse(squash) -
             (p.scaled_by(&Scales::weight_sum) * squash.z(softmax.largest) - part.distance);",
        ],
        WRONG,
    ),
    bug(
        "the z-loss is divided by weights",
        "stream",
        ["inverse(p, static_cast<double>(all.rows));", "inverse(p, all.weight);"],
        WRONG,
    ),
    bug(
        "the mean divides by rows",
        "stream",
        ["inverse(p, all.weight);", "inverse(p, static_cast<double>(all.rows));"],
        WRONG,
    ),
    bug(
        "-inf - -inf where parts merge",
        "stream",
        [
            "return !kCapped && x == -infinity() ? 0 : finite_reference(x);",
            "return finite_reference(x);",
        ],
        WRONG,
    ),
    bug(
        "offsets of rows of 32 bits",
        "stream",
        ["number * adder.p.dlogits_stride", "static_cast<i32>(number * adder.p.dlogits_stride)"],
        &[Kind::OutOfBounds],
    ),
    bug(
        "rows along x only",
        "stream",
        ["(static_cast<u64>(blockIdx.y) * gridDim.x + blockIdx.x) / ctas", "blockIdx.x / ctas"],
        &[Kind::Uninitialised, Kind::Race],
    ),
    bug(
        "no barrier between warps",
        "stream",
        [
            "__syncthreads();\n    part = merge_shared(shared, squash);",
            "part = merge_shared(shared, squash);",
        ],
        &[Kind::Race, Kind::Uninitialised],
    ),
    bug(
        "no barrier in sums over rows",
        "stream",
        [
            "if (lane == 0) shared[threadIdx.x / kWarp] = value;\n  __syncthreads();",
            "if (lane == 0) shared[threadIdx.x / kWarp] = value;",
        ],
        &[Kind::Race, Kind::Uninitialised],
    ),
    bug(
        "targets of 64 bits read as 32",
        "stream",
        [
            "return static_cast<const i64*>(targets)[row];",
            "return static_cast<const i32*>(targets)[2 * row];",
        ],
        WRONG,
    ),
    bug("NaN is not seen", "stream", ["defined = !is_nan(s) && ", "defined = "], WRONG),
    bug(
        "a softcap makes NaN a number",
        "stream",
        [
            "if (fabsf(x[i] * inner) >= kFar) points[i]",
            "if (!(fabsf(x[i] * inner) < kFar)) points[i]",
        ],
        WRONG,
    ),
    bug("1 - tanh^2", "stream", ["4 * part * w}", "1 - (1 - 2 * part) * (1 - 2 * part)}"], WRONG),
    bug(
        "the exponent of a softcap is rounded",
        "stream",
        [
            "const float f = (high - (shifted - kRound)) + low;",
            "const float f = high - (shifted - kRound);",
        ],
        WRONG,
    ),
    bug(
        "the first row's upstream gradient for all",
        "stream",
        ["p.dloss[p.flags & kDlossPerRow ? row : 0]", "p.dloss[0]"],
        WRONG,
    ),
    bug(
        "each of equal maxima is left out",
        "stream",
        ["first_of_lanes<kLanes>(top);", "top;"],
        WRONG,
    ),
    bug(
        "a target read after another thread wrote in its place",
        "stream",
        ["__syncthreads();  // x is read before another thread writes in its place", ";"],
        &[Kind::Race],
    ),
    bug(
        "the last of equal maxima",
        "stream",
        ["? part.argmax : kNoClass, lower)", "? ~part.argmax : kNoClass, lower) ^ kNoClass"],
        WRONG,
    ),
    bug(
        "the target's weight is 1",
        "stream",
        ["p.class_weights ? p.class_weights[index] : 1;", "p.class_weights ? 1 : 1;"],
        WRONG,
    ),
    bug(
        "the highest invalid row is reported",
        "stream",
        ["b.first_invalid < a.first_invalid", "b.first_invalid > a.first_invalid"],
        WRONG,
    ),
    bug(
        "a report forgets earlier runs",
        "stream",
        ["p.report->count += all.invalid;", "p.report->count = all.invalid;"],
        WRONG,
    ),
    bug(
        "a target that is no class is an index",
        "stream",
        ["const bool valid = static_cast<u64>(y) < p.classes;", "const bool valid = true;"],
        &[Kind::OutOfBounds],
    ),
    bug(
        "a negative target is an index",
        "stream",
        ["if (static_cast<u64>(y) < p.classes) {", "if (y < static_cast<i64>(p.classes)) {"],
        &[Kind::OutOfBounds],
    ),
    bug(
        "the entropy does not move with the maximum",
        "stream",
        ["f * (part.entropy - shift * (part.s + 1))", "f * part.entropy"],
        WRONG,
    ),
    bug(
        "the gradient of the z-loss without the maximum",
        "stream",
        ["(2 * p.z_loss) * softmax.lse(squash)", "(2 * p.z_loss) * softmax.log1p_s()"],
        WRONG,
    ),
    bug("a shuffle too few", "stream", ["bits > 0; bits /= 2", "bits > 1; bits /= 2"], WRONG),
    bug(
        "the sign of the largest logit",
        "stream",
        ["{p.sign_flip ? -largest : largest,", "{largest,"],
        WRONG,
    ),
    bug(
        "the scale of the z-loss",
        "stream",
        ["times(all.z_loss, scales.z_loss)", "times(all.z_loss, scales.cross_entropy)"],
        WRONG,
    ),
    bug(
        "each sum of two lanes is rounded",
        "stream",
        [
            "reduce_lanes<kLanes>(static_cast<double>(value), add)",
            "reduce_lanes<kLanes>(value, add)",
        ],
        WRONG,
    ),
    bug("the last place of sums is forgotten", "stream", ["low += x - (next - sum);", ";"], WRONG),
    bug(
        "moved sums keep their size",
        "stream",
        ["    s.scale(f);\n    reference = to;", "    reference = to;"],
        WRONG,
    ),
    bug(
        "sums never move",
        "stream",
        ["kReach = kMany ? 1 : 0;", "kReach = kMany ? 1e30f : 0;"],
        WRONG,
    ),
    bug(
        "what rises is not added",
        "stream",
        [
            "maxima = 0;\n    largest = top_logit;\n    if (!nothing && squash.distance(top_logit, reference) <= kReach) return joins;",
            "maxima = 0;\n    largest = top_logit;\n    if (!nothing && squash.distance(top_logit, reference) <= kReach) return 0;",
        ],
        WRONG,
    ),
    bug(
        "no row is faint",
        "stream",
        [
            "return s < static_cast<float>(classes) * kTwoToMinus70;",
            "return s < static_cast<float>(classes) * -kTwoToMinus70;",
        ],
        WRONG,
    ),
    bug(
        "a faint row with its maximum",
        "stream",
        ["const bool adds = x[i] != largest && ", "const bool adds = "],
        WRONG,
    ),
    bug(
        "pieces at the end of a row lie in the next one",
        "stream",
        [
            "return at_end ? 16 - size - larger : larger;",
            "return at_end ? 16 - size - larger : 2 * larger;",
        ],
        &[Kind::Race],
    ),
    bug(
        "pieces at the beginning of a row lie in the one before",
        "stream",
        ["return at_end ? 16 - size - larger : larger;", "return larger;"],
        &[Kind::Race],
    ),
    bug(
        "two bytes of a piece from the wrong half",
        "stream",
        ["pieces.at_end ? word >> 16 : word);", "word);"],
        WRONG,
    ),
    bug(
        "every tensor is aligned like the logits",
        "stream",
        ["return (start | 16) & -(start | 16);", "return (start & 0) | 16;"],
        &[Kind::Misaligned],
    ),
    bug(
        "narrow stores leave a half",
        "stream",
        ["store8(at + 2 * n, make_uint2(v.z, v.w));", ";"],
        &[Kind::Uninitialised],
    ),
];
