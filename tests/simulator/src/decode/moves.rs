//! Moves, selections, comparisons and conversions.

use super::operands::Arg;
use super::{Decoder, Refusal};
use crate::alu::compare;
use crate::alu::convert;
use crate::module::SHARED_WINDOW;
use crate::op::{Op, Special};
use crate::types::Type;

impl Decoder<'_> {
    pub(super) fn moves(&mut self) -> Result<Op, Refusal> {
        match self.root.as_str() {
            "mov" => self.mov(),
            "cvta" => self.cvta(),
            "selp" => {
                let ty = self.ty()?;
                let (to, a, b) = (self.dst()?, self.src(ty)?, self.src(ty)?);
                Ok(Op::Select { to, a, b, p: self.pred()? })
            }
            "slct" => self.slct(),
            "setp" => self.setp(),
            "set" => self.set(),
            "cvt" => self.cvt(),
            _ => self.unknown(),
        }
    }

    fn mov(&mut self) -> Result<Op, Refusal> {
        let ty = self.ty()?;
        if ty == Type::Pred {
            let to = self.predicates()?.0.ok_or("mov.pred needs a destination")?;
            let a = self.pred()?;
            return Ok(Op::Predicate { to, a, b: a, f: |a, _| a });
        }
        let (to, from) = (self.parts()?, self.parts()?);
        if to.len() > 1 {
            let bits = ty.bits() / to.len() as u32;
            let to = to.iter().map(|to| self.dst_of(to)).collect::<Result<_, _>>()?;
            return Ok(Op::Unpack { to, a: self.src_of(&from[0], ty)?, bits });
        }
        let to = self.dst_of(&to[0])?.ok_or("mov needs a destination")?;
        if from.len() > 1 {
            let bits = ty.bits() / from.len() as u32;
            let part = Type::Bits(bits);
            let from = from.iter().map(|from| self.src_of(from, part)).collect::<Result<_, _>>()?;
            return Ok(Op::Pack { to, from, bits });
        }
        if let Arg::Word(name) = &from[0]
            && self.names.register(self.scope, name).is_none()
            && let Some(special) = special(name)
        {
            return Ok(Op::Special { to, special });
        }
        let a = self.src_of(&from[0], ty)?;
        Ok(Op::Unary { to, a, f: |a| a })
    }

    fn cvta(&mut self) -> Result<Op, Refusal> {
        let back = self.first("to");
        let space = self.next_modifier();
        let ty = self.ty()?;
        let (to, a) = (self.dst()?, self.src(ty)?);
        let shared = space.starts_with("shared");
        let f: fn(u64) -> u64 = match (shared, back) {
            (true, false) => |a| a.wrapping_add(SHARED_WINDOW),
            (true, true) => |a| a.wrapping_sub(SHARED_WINDOW),
            _ if matches!(space.as_str(), "global" | "const" | "local" | "param") => |a| a,
            _ => return Err(format!("cvta of .{space} is not modelled")),
        };
        Ok(Op::Unary { to, a, f })
    }

    fn slct(&mut self) -> Result<Op, Refusal> {
        self.take("ftz");
        let (ty, condition) = (self.ty()?, self.ty()?);
        let (to, a, b, c) = (self.dst()?, self.src(ty)?, self.src(ty)?, self.src(condition)?);
        let f: fn(u64, u64, u64) -> u64 = match condition {
            Type::Signed(32) => |a, b, c| if c as i32 >= 0 { a } else { b },
            Type::F32 => |a, b, c| if f32::from_bits(c as u32) >= 0.0 { a } else { b },
            _ => return self.unknown(),
        };
        Ok(Op::Ternary { to, a, b, c, f })
    }

    fn setp(&mut self) -> Result<Op, Refusal> {
        let relation = self.next_modifier();
        let combine: Option<fn(u32, u32) -> u32> = match self.take_any(&["and", "or", "xor"]) {
            Some("and") => Some(|a, b| a & b),
            Some("or") => Some(|a, b| a | b),
            Some(_) => Some(|a, b| a ^ b),
            None => None,
        };
        let ftz = self.take("ftz");
        let ty = self.ty()?;
        let (p, q) = self.predicates()?;
        let (a, b) = (self.src(ty)?, self.src(ty)?);
        let f = compare::relation(&relation, ty, ftz)
            .ok_or_else(|| format!("setp.{relation} of {ty:?} is not modelled"))?;
        if matches!(ty, Type::F16x2 | Type::Bf16x2) {
            if combine.is_some() {
                return Err("setp of a pair with a boolean operator is not modelled".into());
            }
            return Ok(Op::ComparePair { p, q, a, b, f });
        }
        let with = match combine {
            Some(combine) => Some((combine, self.pred()?)),
            None => None,
        };
        Ok(Op::Compare { p, q, a, b, f, with })
    }

    fn set(&mut self) -> Result<Op, Refusal> {
        let relation = self.next_modifier();
        let ftz = self.take("ftz");
        let (result, ty) = (self.ty()?, self.ty()?);
        let (to, a, b) = (self.dst()?, self.src(ty)?, self.src(ty)?);
        let f = compare::relation(&relation, ty, ftz)
            .filter(|_| !matches!(ty, Type::F16x2 | Type::Bf16x2))
            .ok_or_else(|| format!("set.{relation} of {ty:?} is not modelled"))?;
        let yes = match result {
            Type::F32 => u64::from(1f32.to_bits()),
            Type::F16 => 0x3c00,
            Type::Bf16 => 0x3f80,
            _ if result.is_integer() => result.mask(),
            _ => return self.unknown(),
        };
        Ok(Op::Set { to, a, b, f, yes })
    }

    fn cvt(&mut self) -> Result<Op, Refusal> {
        let rounding = self.take_any(&["rna", "rni", "rzi", "rmi", "rpi", "rn", "rz", "rm", "rp"]);
        let (ftz, sat, relu) = (self.take("ftz"), self.take("sat"), self.take("relu"));
        let (to_type, from_type) = (self.ty()?, self.ty()?);
        let to = self.dst()?;
        let refuse = || format!("cvt from {from_type:?} to {to_type:?} is not modelled");
        if matches!(to_type, Type::F16x2 | Type::Bf16x2) {
            if from_type != Type::F32 || ftz {
                return Err(refuse());
            }
            let (a, b) = (self.src(Type::F32)?, self.src(Type::F32)?);
            let f = convert::pair(to_type, rounding, relu, sat).ok_or_else(refuse)?;
            return Ok(Op::Binary { to, a, b, f });
        }
        let a = match self.arg()? {
            Arg::Word(name) if special(&name).is_some() => {
                return Err("cvt of a special register is not modelled".into());
            }
            arg => self.src_of(&arg, Type::Bits(from_type.bits().min(8)))?,
        };
        if let Some(f) = convert::simple(to_type, from_type, to.mask, sat) {
            if rounding.is_some_and(|_| from_type.is_integer() && to_type.is_integer()) {
                return Err(refuse());
            }
            return Ok(Op::Unary { to, a, f });
        }
        let convert = convert::Convert::new(to_type, from_type, rounding, ftz, sat, relu)
            .ok_or_else(refuse)?;
        Ok(Op::Convert { to, a, convert })
    }
}

/// A special register by its name.
fn special(name: &str) -> Option<Special> {
    let (base, axis) = match name.rsplit_once('.') {
        Some((base, axis)) => (base, ["x", "y", "z"].iter().position(|found| *found == axis)?),
        None => (name, 0),
    };
    Some(match base {
        "%tid" => Special::Tid(axis),
        "%ntid" => Special::Ntid(axis),
        "%ctaid" => Special::Ctaid(axis),
        "%nctaid" => Special::Nctaid(axis),
        "%laneid" => Special::LaneId,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::Nwarpid,
        "%smid" => Special::SmId,
        "%nsmid" => Special::Nsmid,
        "%gridid" => Special::GridId,
        "%clock" | "%clock_hi" | "%clock64" | "%globaltimer" => Special::Clock,
        "%lanemask_eq" => Special::LaneMask(|other, lane| other == lane),
        "%lanemask_lt" => Special::LaneMask(|other, lane| other < lane),
        "%lanemask_le" => Special::LaneMask(|other, lane| other <= lane),
        "%lanemask_gt" => Special::LaneMask(|other, lane| other > lane),
        "%lanemask_ge" => Special::LaneMask(|other, lane| other >= lane),
        "%cluster_ctarank" => Special::ClusterCtarank,
        "%cluster_nctarank" => Special::ClusterNctarank,
        "%cluster_ctaid" => Special::ClusterCtaid(axis),
        "%cluster_nctaid" => Special::ClusterNctaid(axis),
        "%clusterid" => Special::ClusterId(axis),
        "%nclusterid" => Special::Nclusterid(axis),
        "%is_explicit_cluster" => Special::IsExplicitCluster,
        "%dynamic_smem_size" => Special::DynamicSharedSize,
        "%total_smem_size" => Special::TotalSharedSize,
        "%reserved_smem_offset_begin" | "%reserved_smem_offset_0" => Special::Constant(0),
        _ => return None,
    })
}
