//! Floating-point arithmetic and approximations.

use super::{Decoder, Refusal};
use crate::alu::float;
use crate::alu::half;
use crate::alu::round::Rounding;
use crate::op::{Dst, Mufu, MufuType, Op};
use crate::types::Type;

impl Decoder<'_> {
    pub(super) fn float_arithmetic(&mut self) -> Result<Op, Refusal> {
        let rounding = match self.take_any(&["rn", "rz", "rm", "rp"]) {
            Some("rz") => Rounding::Zero,
            Some("rm") => Rounding::Down,
            Some("rp") => Rounding::Up,
            _ => Rounding::Nearest,
        };
        let directed = rounding != Rounding::Nearest;
        let (ftz, sat, relu) = (self.take("ftz"), self.take("sat"), self.take("relu"));
        let nan = self.take("NaN");
        if self.root == "div" {
            // Both are approximations; what is computed here is exact.
            self.take_any(&["approx", "full"]);
        }
        let ty = self.ty()?;
        let second = if self.modifiers.is_empty() { None } else { Some(self.ty()?) };
        let root = self.root.clone();
        let refuse = || format!("this kind of {root} of {ty:?} is not modelled");
        let to = self.dst()?;
        if let Some(small) = second {
            return self.mixed(to, small, directed || ftz || sat || relu || nan);
        }
        let packed = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
        if packed && (ftz || directed) {
            return Err(refuse());
        }
        match (root.as_str(), self.args.len()) {
            ("neg" | "abs", 1) => {
                let f = float::sign(&root, ty, ftz).ok_or_else(refuse)?;
                Ok(Op::Unary { to, a: self.src(ty)?, f })
            }
            ("min" | "max", count @ (2 | 3)) => {
                let max = root == "max";
                let (a, b) = (self.src(ty)?, self.src(ty)?);
                if count == 3 {
                    let f = float::minmax3(max, ftz, nan).filter(|_| ty == Type::F32);
                    let c = self.src(ty)?;
                    return Ok(Op::Ternary { to, a, b, c, f: f.ok_or_else(refuse)? });
                }
                let f = match ty {
                    Type::F32 => float::minmax(max, ftz, nan),
                    Type::F64 if !ftz && !nan => float::binary64(&root),
                    _ => half::minmax(max, ty, nan),
                };
                Ok(Op::Binary { to, a, b, f: f.ok_or_else(refuse)? })
            }
            (_, 2) if !nan && !relu => {
                let f = match ty {
                    Type::F32 => float::binary32(&root, rounding, ftz, sat),
                    Type::F32x2 if !directed && !sat => float::packed2(&root, ftz),
                    Type::F64 if !directed && !sat && !ftz => float::binary64(&root),
                    _ if packed => half::binary(&root, ty, sat),
                    _ => None,
                };
                let (a, b) = (self.src(ty)?, self.src(ty)?);
                Ok(Op::Binary { to, a, b, f: f.ok_or_else(refuse)? })
            }
            ("fma" | "mad", 3) if !nan => {
                let f = match ty {
                    Type::F32 if !relu => float::fma32(rounding, ftz, sat),
                    Type::F32x2 if !directed && !sat && !relu => Some(float::packed3(ftz)),
                    Type::F64 if !directed && !sat && !relu => Some(float::fma64 as _),
                    _ if packed => half::fma_of(ty, sat, relu),
                    _ => None,
                };
                let (a, b, c) = (self.src(ty)?, self.src(ty)?, self.src(ty)?);
                Ok(Op::Ternary { to, a, b, c, f: f.ok_or_else(refuse)? })
            }
            _ => Err(refuse()),
        }
    }

    /// `add.f32.bf16`: the result is single, the first operands have 16 bits.
    fn mixed(&mut self, to: Dst, small: Type, flagged: bool) -> Result<Op, Refusal> {
        let refuse = format!("this kind of mixed {} is not modelled", self.root);
        if flagged {
            return Err(refuse);
        }
        let a = self.src(small)?;
        if self.root == "fma" {
            let (b, c) = (self.src(small)?, self.src(Type::F32)?);
            return Ok(Op::Ternary { to, a, b, c, f: half::mixed3(small).ok_or(refuse)? });
        }
        let b = self.src(Type::F32)?;
        Ok(Op::Binary { to, a, b, f: half::mixed2(&self.root, small).ok_or(refuse)? })
    }

    /// `ex2`, `lg2`, `rcp` and their kind.
    pub(super) fn mufu(&mut self) -> Result<Op, Refusal> {
        let approximate = self.take("approx");
        let exact = self.take("rn");
        let ftz = self.take("ftz");
        let ty = self.ty()?;
        let refuse = format!("this kind of {} of {ty:?} is not modelled", self.root);
        let (to, a) = (self.dst()?, self.src(ty)?);
        if exact {
            let f = match ty {
                Type::F32 => float::unary32(&self.root, ftz),
                Type::F64 => match self.root.as_str() {
                    "sqrt" => Some((|a| f64::from_bits(a).sqrt().to_bits()) as fn(u64) -> u64),
                    "rcp" => Some((|a| (1.0 / f64::from_bits(a)).to_bits()) as fn(u64) -> u64),
                    _ => None,
                },
                _ => None,
            };
            return Ok(Op::Unary { to, a, f: f.ok_or(refuse)? });
        }
        let f = match self.root.as_str() {
            "ex2" => Mufu::Ex2,
            "lg2" => Mufu::Lg2,
            "rcp" => Mufu::Rcp,
            "sqrt" => Mufu::Sqrt,
            "rsqrt" => Mufu::Rsqrt,
            "sin" => Mufu::Sin,
            "cos" => Mufu::Cos,
            _ => Mufu::Tanh,
        };
        let ty = match (ty, f) {
            (Type::F32, _) => MufuType::F32 { ftz },
            (Type::F64, Mufu::Rcp | Mufu::Rsqrt) => MufuType::F64,
            (Type::F16, Mufu::Ex2 | Mufu::Tanh) => MufuType::F16 { pair: false },
            (Type::F16x2, Mufu::Ex2 | Mufu::Tanh) => MufuType::F16 { pair: true },
            (Type::Bf16, Mufu::Ex2 | Mufu::Tanh) => MufuType::Bf16 { pair: false, ftz },
            (Type::Bf16x2, Mufu::Ex2 | Mufu::Tanh) => MufuType::Bf16 { pair: true, ftz },
            _ => return Err(refuse),
        };
        if !approximate {
            return Err(refuse);
        }
        Ok(Op::Mufu { to, a, f, ty })
    }

    /// `testp` and `copysign`.
    pub(super) fn special_float(&mut self) -> Result<Op, Refusal> {
        let property = if self.root == "testp" { self.next_modifier() } else { String::new() };
        let ty = self.ty()?;
        let refuse = format!("this kind of {} of {ty:?} is not modelled", self.root);
        if self.root == "testp" {
            let p = self.predicates()?.0;
            let a = self.src(ty)?;
            let f = float::test(&property, ty).ok_or(refuse)?;
            return Ok(Op::Compare { p, q: None, a, b: a, f, with: None });
        }
        let (to, a, b) = (self.dst()?, self.src(ty)?, self.src(ty)?);
        Ok(Op::Binary { to, a, b, f: float::copysign(ty).ok_or(refuse)? })
    }
}
