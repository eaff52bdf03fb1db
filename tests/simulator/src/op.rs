//! Instructions as they are executed: names resolved, modifiers folded into functions.

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;

/// One value per lane. A value of fewer bits has zeros above them.
pub(crate) type Lanes = [u64; LANES];

/// A register that is written, and the bits it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dst {
    pub register: u32,
    pub mask: u64,
}

/// Where an operand comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Src {
    Register(u32),
    /// An index into the constants of the kernel.
    Constant(u32),
}

/// A boolean operator on the predicates of all lanes.
pub(crate) type Combine = fn(u32, u32) -> u32;

/// A predicate that is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pred {
    Register { index: u32, negated: bool },
    Constant(bool),
}

/// How a load sees what others write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Weak,
    /// Volatile, relaxed or acquire: it may meet writes and atomics of that kind.
    Strong,
    /// `.nc`: the launch must never write what is read.
    Constant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub base: Src,
    pub offset: i64,
}

/// State spaces. The window of a peer's shared memory is part of the addresses of `Shared`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Generic,
    Global,
    Param,
    Local,
    Shared,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    LaneId,
    WarpId,
    Nwarpid,
    SmId,
    Nsmid,
    GridId,
    Clock,
    LaneMask(fn(u32, u32) -> bool),
    ClusterCtarank,
    ClusterNctarank,
    ClusterCtaid(usize),
    ClusterNctaid(usize),
    ClusterId(usize),
    Nclusterid(usize),
    IsExplicitCluster,
    DynamicSharedSize,
    TotalSharedSize,
    Constant(u64),
}

/// Approximations, whose last bits depend on the hardware: noise may be added to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mufu {
    Ex2,
    Lg2,
    Rcp,
    Sqrt,
    Rsqrt,
    Sin,
    Cos,
    Tanh,
}

/// How the operand of an approximation is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MufuType {
    F32 { ftz: bool },
    F64,
    F16 { pair: bool },
    Bf16 { pair: bool, ftz: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uni,
    Ballot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarrierMode {
    Sync,
    Arrive,
    Popc,
    And,
    Or,
}

/// What several lanes of a warp do together, once all of them have arrived.
#[derive(Clone, Debug)]
pub(crate) enum Collective {
    Shuffle { mode: ShuffleMode, to: Option<Dst>, valid: Option<u32>, a: Src, b: Src, c: Src },
    Vote { mode: VoteMode, to: Option<Dst>, predicate: Option<u32>, a: Pred },
    MatchAny { to: Option<Dst>, a: Src },
    MatchAll { to: Option<Dst>, predicate: Option<u32>, a: Src },
    Reduce { to: Dst, a: Src, f: fn(u64, u64) -> u64 },
    Elect { to: Option<Dst>, predicate: Option<u32> },
    Sync,
}

#[derive(Clone, Debug)]
pub(crate) enum Mbarrier {
    Init {
        count: Src,
    },
    Invalidate,
    /// Arrives `count` times (1 if absent), after `expect` bytes are added to the transaction count.
    Arrive {
        count: Option<Src>,
        expect: Option<Src>,
        to: Option<Dst>,
        drop: bool,
        release: bool,
    },
    ExpectTx {
        bytes: Src,
    },
    CompleteTx {
        bytes: Src,
    },
    /// Asks whether a phase is over. `wait`: the thread may sleep until it is.
    Test {
        to: u32,
        phase: Src,
        parity: bool,
        wait: bool,
        acquire: bool,
    },
}

/// The end of an asynchronous copy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Completion {
    /// Bytes are counted on an mbarrier at this address.
    Mbarrier(Address),
    /// The thread commits it to a group: `bulk` or not.
    Group { bulk: bool },
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Nothing,
    Unary {
        to: Dst,
        a: Src,
        f: fn(u64) -> u64,
    },
    Binary {
        to: Dst,
        a: Src,
        b: Src,
        f: fn(u64, u64) -> u64,
    },
    Ternary {
        to: Dst,
        a: Src,
        b: Src,
        c: Src,
        f: fn(u64, u64, u64) -> u64,
    },
    Quaternary {
        to: Dst,
        a: Src,
        b: Src,
        c: Src,
        d: Src,
        f: fn(u64, u64, u64, u64) -> u64,
    },
    Convert {
        to: Dst,
        a: Src,
        convert: crate::alu::convert::Convert,
    },
    Mufu {
        to: Dst,
        a: Src,
        f: Mufu,
        ty: MufuType,
    },
    Special {
        to: Dst,
        special: Special,
    },
    Pack {
        to: Dst,
        from: Vec<Src>,
        bits: u32,
    },
    Unpack {
        to: Vec<Option<Dst>>,
        a: Src,
        bits: u32,
    },
    Select {
        to: Dst,
        a: Src,
        b: Src,
        p: Pred,
    },
    /// `p = combine(f(a, b), with)`, `q = combine(!f(a, b), with)`.
    Compare {
        p: Option<u32>,
        q: Option<u32>,
        a: Src,
        b: Src,
        f: fn(u64, u64) -> bool,
        with: Option<(Combine, Pred)>,
    },
    /// `set`: `yes` or 0 in a register.
    Set {
        to: Dst,
        a: Src,
        b: Src,
        f: fn(u64, u64) -> bool,
        yes: u64,
    },
    /// Both halves of a packed comparison, into two predicates.
    ComparePair {
        p: Option<u32>,
        q: Option<u32>,
        a: Src,
        b: Src,
        f: fn(u64, u64) -> bool,
    },
    Predicate {
        to: u32,
        a: Pred,
        b: Pred,
        f: Combine,
    },
    Load {
        space: Space,
        bytes: u32,
        /// Bits of a signed value to extend.
        sign: Option<u32>,
        to: Vec<Option<Dst>>,
        at: Address,
        order: Order,
    },
    Store {
        space: Space,
        bytes: u32,
        from: Vec<Src>,
        at: Address,
        strong: bool,
    },
    Atomic {
        space: Space,
        bytes: u32,
        to: Option<Dst>,
        at: Address,
        b: Src,
        c: Src,
        f: fn(u64, u64, u64) -> u64,
    },
    Branch {
        to: u32,
    },
    BranchIndex {
        index: Src,
        table: Vec<u32>,
    },
    Exit,
    Trap,
    ActiveMask {
        to: Dst,
    },
    Collective {
        mask: Option<Src>,
        what: Collective,
    },
    Barrier {
        mode: BarrierMode,
        id: Src,
        count: Option<Src>,
        to: Option<Dst>,
        predicate: Option<u32>,
        a: Pred,
        aligned: bool,
    },
    ClusterArrive {
        release: bool,
    },
    ClusterWait,
    /// The address of the same variable in a peer's shared memory.
    MapShared {
        to: Dst,
        a: Src,
        rank: Src,
        generic: bool,
    },
    CtaRank {
        to: Dst,
        a: Src,
        generic: bool,
    },
    Mbarrier {
        space: Space,
        at: Address,
        what: Mbarrier,
    },
    StoreAsync {
        bytes: u32,
        from: Vec<Src>,
        at: Address,
        mbarrier: Address,
    },
    /// `cp.async` and `cp.async.bulk`: `filled` bytes are copied, the rest up to `bytes` are zeros.
    Copy {
        to: (Space, Address),
        from: (Space, Address),
        bytes: Src,
        filled: Option<Src>,
        bulk: bool,
        completion: Completion,
    },
    CommitGroup {
        bulk: bool,
    },
    /// Waits until at most `pending` groups are not complete.
    WaitGroup {
        bulk: bool,
        pending: u64,
    },
}

/// One instruction.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub op: Op,
    pub guard: Option<Pred>,
    pub line: usize,
    /// Opcode with modifiers.
    pub opcode: String,
    /// The whole text, for reports.
    pub text: String,
}
