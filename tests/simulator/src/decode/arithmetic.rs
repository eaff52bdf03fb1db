//! Integer and floating-point arithmetic, logic and bits.

use super::{Decoder, Refusal};
use crate::alu::integer;
use crate::op::{Op, Pred};
use crate::types::Type;

const U32: Type = Type::Unsigned(32);

impl Decoder<'_> {
    pub(super) fn arithmetic(&mut self) -> Result<Op, Refusal> {
        match self.root.as_str() {
            "prmt" => return self.prmt(),
            "shf" => return self.shf(),
            "lop3" => return self.lop3(),
            "bfi" => return self.bfi(),
            "testp" | "copysign" => return self.special_float(),
            _ => {}
        }
        let Some(ty) = self.modifiers.iter().find_map(|modifier| Type::parse(modifier)) else {
            return self.unknown();
        };
        if ty == Type::Pred {
            return self.predicate_logic();
        }
        if ty.is_integer() { self.integer_arithmetic() } else { self.float_arithmetic() }
    }

    fn integer_arithmetic(&mut self) -> Result<Op, Refusal> {
        let part = self.take_any(&["lo", "hi", "wide"]);
        let sat = self.take("sat");
        let shift = self.root == "bfind" && self.take("shiftamt");
        let ty = self.ty()?;
        let name = match (self.root.as_str(), part) {
            ("mul" | "mad", Some(part)) => format!("{}.{part}", self.root),
            (_, Some(_)) => return self.unknown(),
            (root, None) => root.to_owned(),
        };
        let refuse = || format!("{name} of {ty:?} is not modelled");
        let to = self.dst()?;
        match self.args.len() {
            1 => {
                let mut f = integer::unary(&name, ty).ok_or_else(refuse)?;
                if shift {
                    f = match ty.bits() {
                        32 => {
                            |a| if a == 0 { 0xffff_ffff } else { u64::from(a.leading_zeros() - 32) }
                        }
                        _ => return Err(refuse()),
                    };
                }
                Ok(Op::Unary { to, a: self.src(ty)?, f })
            }
            2 => {
                let f = integer::binary(&name, ty, sat).ok_or_else(refuse)?;
                let second = if name.starts_with("sh") { U32 } else { ty };
                let (a, b) = (self.src(ty)?, self.src(second)?);
                Ok(Op::Binary { to, a, b, f })
            }
            _ => {
                let f = integer::ternary(&name, ty).filter(|_| !sat).ok_or_else(refuse)?;
                let (second, third) = match name.as_str() {
                    "bfe" => (U32, U32),
                    "mad.wide" => (ty, Type::Bits(2 * ty.bits())),
                    _ => (ty, ty),
                };
                let (a, b, c) = (self.src(ty)?, self.src(second)?, self.src(third)?);
                Ok(Op::Ternary { to, a, b, c, f })
            }
        }
    }

    fn predicate_logic(&mut self) -> Result<Op, Refusal> {
        self.ty()?;
        let to = self.predicates()?.0.ok_or("a predicate is needed")?;
        let a = self.pred()?;
        let (b, f): (Pred, fn(u32, u32) -> u32) = match self.root.as_str() {
            "not" => (a, |a, _| !a),
            "and" => (self.pred()?, |a, b| a & b),
            "or" => (self.pred()?, |a, b| a | b),
            "xor" => (self.pred()?, |a, b| a ^ b),
            _ => return self.unknown(),
        };
        Ok(Op::Predicate { to, a, b, f })
    }

    fn prmt(&mut self) -> Result<Op, Refusal> {
        let ty = self.ty()?;
        let mode = self.next_modifier();
        let f = integer::permute(&mode).ok_or_else(|| format!("prmt.{mode} is not modelled"))?;
        let (to, a, b, c) = (self.dst()?, self.src(ty)?, self.src(ty)?, self.src(ty)?);
        Ok(Op::Ternary { to, a, b, c, f })
    }

    fn shf(&mut self) -> Result<Op, Refusal> {
        let direction = self.take_any(&["l", "r"]);
        let mode = self.take_any(&["wrap", "clamp"]);
        let (Some(direction), Some(mode)) = (direction, mode) else { return self.unknown() };
        let ty = self.ty()?;
        let f = integer::funnel(direction == "l", mode == "clamp");
        let (to, a, b, c) = (self.dst()?, self.src(ty)?, self.src(ty)?, self.src(U32)?);
        Ok(Op::Ternary { to, a, b, c, f })
    }

    fn lop3(&mut self) -> Result<Op, Refusal> {
        let ty = self.ty()?;
        let (to, a, b, c) = (self.dst()?, self.src(ty)?, self.src(ty)?, self.src(ty)?);
        let d = self.src(U32)?;
        Ok(Op::Quaternary { to, a, b, c, d, f: integer::lop3 })
    }

    fn bfi(&mut self) -> Result<Op, Refusal> {
        let ty = self.ty()?;
        let (to, a, b) = (self.dst()?, self.src(ty)?, self.src(ty)?);
        let (c, d) = (self.src(U32)?, self.src(U32)?);
        Ok(Op::Quaternary { to, a, b, c, d, f: integer::insert(ty.bits()) })
    }
}
