//! Peers in a cluster, mbarriers and asynchronous copies.

use super::operands::Arg;
use super::{Decoder, Refusal};
use crate::op::{Completion, Mbarrier, Op, Space};
use crate::types::Type;

const U32: Type = Type::Unsigned(32);
const B64: Type = Type::Bits(64);

impl Decoder<'_> {
    pub(super) fn asynchronous(&mut self) -> Result<Op, Refusal> {
        match self.root.clone().as_str() {
            "mapa" => {
                let generic = !self.take("shared::cluster");
                let ty = self.ty()?;
                Ok(Op::MapShared {
                    to: self.dst()?,
                    a: self.src(ty)?,
                    rank: self.src(U32)?,
                    generic,
                })
            }
            "getctarank" => {
                let generic = !self.take("shared::cluster");
                let ty = self.ty()?;
                Ok(Op::CtaRank { to: self.dst()?, a: self.src(ty)?, generic })
            }
            "createpolicy" => {
                // A policy steers caches only: any value will do.
                self.modifiers.clear();
                let to = self.dst()?;
                self.args.clear();
                Ok(Op::Unary { to, a: self.constant(0), f: |a| a })
            }
            "mbarrier" => self.mbarrier(),
            _ if self.take("async") => self.copy(),
            _ => self.unknown(),
        }
    }

    fn mbarrier(&mut self) -> Result<Op, Refusal> {
        let order = self.take_any(&["relaxed", "release", "acquire"]);
        let ordered = order != Some("relaxed");
        let name = self.next_modifier();
        let expects = self.take("expect_tx");
        if self.take("noComplete") {
            return Err("mbarrier with .noComplete is not modelled".into());
        }
        let parity = self.take("parity");
        self.take_any(&["cta", "cluster"]);
        let space = self.space();
        self.take("b64");
        let what = match name.as_str() {
            "init" => {
                let at = self.address()?;
                let what = Mbarrier::Init { count: self.src(U32)? };
                return Ok(Op::Mbarrier { space, at, what });
            }
            "inval" => Mbarrier::Invalidate,
            "arrive" | "arrive_drop" => {
                let remote = matches!(self.args.front(), Some(Arg::Memory(..)));
                let to = if remote { None } else { self.dst_or_sink()? };
                let at = self.address()?;
                let value = self.optional_src(U32)?;
                let (count, expect) = if expects { (None, value) } else { (value, None) };
                let drop = name == "arrive_drop";
                let what = Mbarrier::Arrive { count, expect, to, drop, release: ordered };
                return Ok(Op::Mbarrier { space, at, what });
            }
            "expect_tx" | "complete_tx" => {
                let at = self.address()?;
                let bytes = self.src(U32)?;
                let what = match name.as_str() {
                    "expect_tx" => Mbarrier::ExpectTx { bytes },
                    _ => Mbarrier::CompleteTx { bytes },
                };
                return Ok(Op::Mbarrier { space, at, what });
            }
            "test_wait" | "try_wait" => {
                let to = self.predicates()?.0.ok_or("a wait needs a predicate")?;
                let at = self.address()?;
                let phase = self.src(if parity { U32 } else { B64 })?;
                let wait = name == "try_wait";
                if wait {
                    self.optional_src(U32)?; // how long the thread may sleep
                }
                let what = Mbarrier::Test { to, phase, parity, wait, acquire: ordered };
                return Ok(Op::Mbarrier { space, at, what });
            }
            _ => return Err(format!("mbarrier.{name} is not modelled")),
        };
        let at = self.address()?;
        Ok(Op::Mbarrier { space, at, what })
    }

    fn copy(&mut self) -> Result<Op, Refusal> {
        let bulk = self.take("bulk");
        if self.take("commit_group") {
            return Ok(Op::CommitGroup { bulk });
        }
        if self.take("wait_group") {
            self.take("read"); // a full wait is stricter than one for the reads: see README
            let Arg::Integer(pending) = self.arg()? else { return self.unknown() };
            return Ok(Op::WaitGroup { bulk, pending });
        }
        if self.take("wait_all") {
            return Ok(Op::WaitGroup { bulk: false, pending: 0 });
        }
        if bulk && self.take("prefetch") {
            self.modifiers.clear();
            self.args.clear();
            return Ok(Op::Nothing);
        }
        let hint = self.take("L2::cache_hint");
        let mut spaces = Vec::new();
        for modifier in std::mem::take(&mut self.modifiers) {
            match modifier.as_str() {
                "shared" | "shared::cta" | "shared::cluster" => spaces.push(Space::Shared),
                "global" => spaces.push(Space::Global),
                _ => self.modifiers.push_back(modifier),
            }
        }
        let [to, from] = spaces[..] else { return self.unknown() };
        if bulk { self.bulk(to, from, hint) } else { self.small_copy(to, from, hint) }
    }

    /// `cp.async.ca.shared.global [to], [from], bytes{, filled}{, policy}`
    fn small_copy(&mut self, to: Space, from: Space, hint: bool) -> Result<Op, Refusal> {
        if self.take_any(&["ca", "cg"]).is_none() || (to, from) != (Space::Shared, Space::Global) {
            return self.unknown();
        }
        self.take_any(&["L2::64B", "L2::128B", "L2::256B"]);
        let (to, from) = ((to, self.address()?), (from, self.address()?));
        let bytes = self.src(U32)?;
        let filled = if self.args.len() > usize::from(hint) { Some(self.src(U32)?) } else { None };
        if hint {
            self.src(B64)?;
        }
        let completion = Completion::Group { bulk: false };
        Ok(Op::Copy { to, from, bytes, filled, bulk: false, completion })
    }

    fn bulk(&mut self, to: Space, from: Space, hint: bool) -> Result<Op, Refusal> {
        let counted = self.take("mbarrier::complete_tx::bytes");
        if !counted && !self.take("bulk_group") {
            return self.unknown();
        }
        let (to, from) = ((to, self.address()?), (from, self.address()?));
        let bytes = self.src(U32)?;
        let completion = match counted {
            true => Completion::Mbarrier(self.address()?),
            false => Completion::Group { bulk: true },
        };
        if hint {
            self.src(B64)?;
        }
        Ok(Op::Copy { to, from, bytes, filled: None, bulk: true, completion })
    }
}
