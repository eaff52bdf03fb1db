//! Branches, barriers and what the lanes of a warp do together.

use super::operands::Arg;
use super::{Decoder, Refusal};
use crate::alu::integer;
use crate::op::{BarrierMode, Collective, Op, Pred, ShuffleMode, VoteMode};
use crate::types::Type;

const U32: Type = Type::Unsigned(32);

impl Decoder<'_> {
    pub(super) fn control(&mut self) -> Result<Op, Refusal> {
        match self.root.as_str() {
            "bra" => {
                self.take("uni");
                let Arg::Word(name) = self.arg()? else { return self.unknown() };
                let to = self.names.target(self.scope, &name);
                Ok(Op::Branch { to: to.ok_or_else(|| format!("no label {name}"))? })
            }
            "brx" => {
                self.take("uni");
                if !self.take("idx") {
                    return self.unknown();
                }
                let index = self.src(U32)?;
                let Arg::Word(name) = self.arg()? else { return self.unknown() };
                let table = self.names.targets(self.scope, &name);
                Ok(Op::BranchIndex {
                    index,
                    table: table.ok_or_else(|| format!("no table {name}"))?,
                })
            }
            "ret" => {
                self.take("uni");
                Ok(Op::Exit)
            }
            "exit" => Ok(Op::Exit),
            "trap" | "brkpt" => Ok(Op::Trap),
            "shfl" => self.shuffle(),
            "vote" => self.vote(),
            "match" => self.matching(),
            "redux" => self.redux(),
            "elect" => {
                self.take("sync");
                let (to, predicate) = self.dst_and_predicate()?;
                let mask = Some(self.src(U32)?);
                Ok(Op::Collective { mask, what: Collective::Elect { to, predicate } })
            }
            "activemask" => {
                self.ty()?;
                Ok(Op::ActiveMask { to: self.dst()? })
            }
            "bar" | "barrier" => self.barrier(),
            "membar" | "fence" => self.fence(),
            "nanosleep" => {
                self.ty()?;
                self.src(U32)?;
                Ok(Op::Nothing)
            }
            "griddepcontrol" => match self.take_any(&["launch_dependents", "wait"]) {
                Some(_) => Ok(Op::Nothing),
                None => self.unknown(),
            },
            "setmaxnreg" => {
                if self.take_any(&["inc", "dec"]).is_none() || !self.take("sync") {
                    return self.unknown();
                }
                self.take("aligned");
                self.ty()?;
                self.src(U32)?;
                Ok(Op::Collective { mask: None, what: Collective::Sync })
            }
            _ => self.unknown(),
        }
    }

    /// `.sync`: without it the lanes need not wait, which no architecture since sm_70 allows.
    fn sync(&mut self) -> Result<(), Refusal> {
        if self.take("sync") { Ok(()) } else { self.unknown() }
    }

    fn shuffle(&mut self) -> Result<Op, Refusal> {
        self.sync()?;
        let mode = match self.take_any(&["up", "down", "bfly", "idx"]) {
            Some("up") => ShuffleMode::Up,
            Some("down") => ShuffleMode::Down,
            Some("bfly") => ShuffleMode::Butterfly,
            Some(_) => ShuffleMode::Index,
            None => return self.unknown(),
        };
        let ty = self.ty()?;
        let (to, valid) = self.dst_and_predicate()?;
        let (a, b, c, mask) = (self.src(ty)?, self.src(U32)?, self.src(U32)?, self.src(U32)?);
        let what = Collective::Shuffle { mode, to, valid, a, b, c };
        Ok(Op::Collective { mask: Some(mask), what })
    }

    fn vote(&mut self) -> Result<Op, Refusal> {
        self.sync()?;
        let mode = match self.take_any(&["all", "any", "uni", "ballot"]) {
            Some("all") => VoteMode::All,
            Some("any") => VoteMode::Any,
            Some("uni") => VoteMode::Uni,
            Some(_) => VoteMode::Ballot,
            None => return self.unknown(),
        };
        self.ty()?;
        let (mut to, mut predicate) = (None, None);
        if mode == VoteMode::Ballot {
            to = self.dst_or_sink()?;
        } else {
            predicate = self.predicates()?.0;
        }
        let a = self.pred()?;
        let mask = Some(self.src(U32)?);
        Ok(Op::Collective { mask, what: Collective::Vote { mode, to, predicate, a } })
    }

    fn matching(&mut self) -> Result<Op, Refusal> {
        let all = self.take_any(&["any", "all"]) == Some("all");
        self.sync()?;
        let ty = self.ty()?;
        let (to, predicate) = self.dst_and_predicate()?;
        let a = self.src(ty)?;
        let mask = Some(self.src(U32)?);
        let what = match all {
            true => Collective::MatchAll { to, predicate, a },
            false => Collective::MatchAny { to, a },
        };
        Ok(Op::Collective { mask, what })
    }

    fn redux(&mut self) -> Result<Op, Refusal> {
        self.sync()?;
        let name = self.next_modifier();
        let (abs, nan) = (self.take("abs"), self.take("NaN"));
        let ty = self.ty()?;
        let f = integer::reduction(&name, ty, abs, nan)
            .ok_or_else(|| format!("redux.{name} of {ty:?} is not modelled"))?;
        let (to, a) = (self.dst()?, self.src(ty)?);
        let mask = Some(self.src(U32)?);
        Ok(Op::Collective { mask, what: Collective::Reduce { to, a, f } })
    }

    fn barrier(&mut self) -> Result<Op, Refusal> {
        if self.take("cluster") {
            self.take("aligned");
            let order = self.take_any(&["release", "relaxed", "acquire"]);
            return match self.take_any(&["arrive", "wait"]) {
                Some("arrive") => Ok(Op::ClusterArrive { release: order != Some("relaxed") }),
                Some(_) => Ok(Op::ClusterWait),
                None => self.unknown(),
            };
        }
        let short = self.root == "bar";
        if self.take("warp") {
            self.sync()?;
            let mask = Some(self.src(U32)?);
            return Ok(Op::Collective { mask, what: Collective::Sync });
        }
        self.take("cta");
        let reduce = self.take("red");
        let mode = match self.take_any(&["sync", "arrive", "popc", "and", "or"]) {
            Some("sync") if !reduce => BarrierMode::Sync,
            Some("arrive") if !reduce => BarrierMode::Arrive,
            Some("popc") if reduce => BarrierMode::Popc,
            Some("and") if reduce => BarrierMode::And,
            Some("or") if reduce => BarrierMode::Or,
            _ => return self.unknown(),
        };
        let aligned = self.take("aligned") || short;
        let (mut to, mut predicate, mut a) = (None, None, Pred::Constant(false));
        if reduce {
            if self.ty()? == Type::Pred {
                predicate = self.predicates()?.0;
            } else {
                to = self.dst_or_sink()?;
            }
        }
        let id = if self.args.is_empty() { self.constant(0) } else { self.src(U32)? };
        let mut count = None;
        if reduce {
            if self.args.len() > 1 {
                count = Some(self.src(U32)?);
            }
            a = self.pred()?;
        } else {
            count = self.optional_src(U32)?;
        }
        Ok(Op::Barrier { mode, id, count, to, predicate, a, aligned })
    }

    /// Fences order nothing here that barriers do not: threads are executed one after the other.
    fn fence(&mut self) -> Result<Op, Refusal> {
        const KNOWN: [&str; 19] = [
            "cta",
            "cluster",
            "gpu",
            "gl",
            "sys",
            "sc",
            "acq_rel",
            "acquire",
            "release",
            "proxy",
            "async",
            "alias",
            "mbarrier_init",
            "async::generic",
            "sync_restrict::shared::cluster",
            "sync_restrict::shared::cta",
            "async.global",
            "async.shared::cta",
            "global",
        ];
        while self.take_any(&KNOWN).is_some() {}
        while self.take_any(&["shared::cta", "shared::cluster"]).is_some() {}
        Ok(Op::Nothing)
    }
}
