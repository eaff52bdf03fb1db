//! Loads, stores and atomics.

use super::{Decoder, Refusal};
use crate::alu::float;
use crate::alu::integer;
use crate::op::{Address, Op, Order, Space, Src};
use crate::types::Type;

/// Modifiers that change where data are cached, never what is read or written.
const CACHING: [&str; 25] = [
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "L2::evict_first",
    "L2::evict_last",
    "L2::evict_normal",
    "unified",
    "L1",
    "L2",
    "tensormap",
    "level::eviction_priority",
    "weak",
    "noftz",
];

/// Modifiers of accesses that other threads may see at once: no race with one another.
const STRONG: [&str; 5] = ["volatile", "relaxed", "acquire", "release", "acq_rel"];

const SCOPES: [&str; 4] = ["cta", "cluster", "gpu", "sys"];

impl Decoder<'_> {
    /// Takes the state space; without one the address is generic.
    pub(super) fn space(&mut self) -> Space {
        const SPACES: [(&str, Space); 9] = [
            ("global", Space::Global),
            ("const", Space::Global),
            ("shared", Space::Shared),
            ("shared::cta", Space::Shared),
            ("shared::cluster", Space::Shared),
            ("local", Space::Local),
            ("param", Space::Param),
            ("param::entry", Space::Param),
            ("generic", Space::Generic),
        ];
        let found = SPACES.iter().find(|(name, _)| self.modifiers.iter().any(|m| m == name));
        match found {
            Some(&(name, space)) => {
                self.take(name);
                space
            }
            None => Space::Generic,
        }
    }

    fn order(&mut self) -> bool {
        let strong = self.take_any(&STRONG).is_some();
        self.take("mmio");
        self.take_any(&SCOPES);
        while self.take_any(&CACHING).is_some() {}
        strong
    }

    pub(super) fn memory(&mut self) -> Result<Op, Refusal> {
        match self.root.clone().as_str() {
            "prefetch" | "prefetchu" | "discard" => {
                while self.take_any(&CACHING).is_some() {}
                self.space();
                self.modifiers.retain(|modifier| modifier != "128");
                self.args.truncate(1);
                self.address()?;
                Ok(Op::Nothing)
            }
            "ld" | "ldu" => self.load(),
            "st" if self.take("async") => self.store_async(),
            "st" => self.store(),
            _ => self.atomic(),
        }
    }

    fn width(&mut self) -> usize {
        match self.take_any(&["v2", "v4", "v8"]) {
            Some("v2") => 2,
            Some("v4") => 4,
            Some(_) => 8,
            None => 1,
        }
    }

    fn load(&mut self) -> Result<Op, Refusal> {
        let hint = self.take("L2::cache_hint");
        let space = self.space();
        let constant = self.take("nc");
        let order = match self.order() {
            true => Order::Strong,
            false if constant => Order::Constant,
            false => Order::Weak,
        };
        let width = self.width();
        let ty = self.ty()?;
        let to = self.parts()?.iter().map(|to| self.dst_of(to)).collect::<Result<Vec<_>, _>>()?;
        let at = self.address()?;
        if hint {
            self.src(Type::Bits(64))?;
        }
        if to.len() != width || ty.bits() > 64 {
            return Err("the destination does not fit the width of the load".into());
        }
        let sign = ty.is_signed().then(|| ty.bits());
        Ok(Op::Load { space, bytes: ty.bytes(), sign, to, at, order })
    }

    fn stored(&mut self, ty: Type, width: usize) -> Result<Vec<Src>, Refusal> {
        // A register may be wider than what is stored of it.
        let part = Type::Bits(8);
        let parts = self.parts()?;
        if parts.len() != width || ty.bits() > 64 {
            return Err("the source does not fit the width of the store".into());
        }
        let mut from = Vec::new();
        for arg in &parts {
            let number = arg.bits(ty).map(|bits| bits & ty.mask());
            from.push(match number {
                Some(bits) => self.constant(bits),
                None => self.src_of(arg, part)?,
            });
        }
        Ok(from)
    }

    fn store(&mut self) -> Result<Op, Refusal> {
        let hint = self.take("L2::cache_hint");
        let space = self.space();
        let strong = self.order();
        let width = self.width();
        let ty = self.ty()?;
        let at = self.address()?;
        let from = self.stored(ty, width)?;
        if hint {
            self.src(Type::Bits(64))?;
        }
        if space == Space::Param {
            return Err("parameters of calls are not modelled".into());
        }
        Ok(Op::Store { space, bytes: ty.bytes(), from, at, strong })
    }

    /// `st.async`: a store whose bytes an mbarrier of the same CTA counts.
    fn store_async(&mut self) -> Result<Op, Refusal> {
        self.order();
        self.take("shared::cluster");
        if !self.take("mbarrier::complete_tx::bytes") {
            return self.unknown();
        }
        let width = self.width();
        let ty = self.ty()?;
        let at = self.address()?;
        let from = self.stored(ty, width)?;
        let mbarrier: Address = self.address()?;
        Ok(Op::StoreAsync { bytes: ty.bytes(), from, at, mbarrier })
    }

    fn atomic(&mut self) -> Result<Op, Refusal> {
        let returns = self.root == "atom";
        let hint = self.take("L2::cache_hint");
        let space = self.space();
        self.order();
        let name = self
            .take_any(&["exch", "cas", "and", "or", "xor", "add", "min", "max", "inc", "dec"])
            .unwrap_or_default();
        self.take("noftz");
        let ty = self.ty()?;
        let f = match (name, ty) {
            (_, ty) if ty.is_integer() && matches!(ty.bits(), 32 | 64) => integer::atomic(name, ty),
            ("exch" | "cas", Type::Bits(16)) => integer::atomic(name, ty),
            ("add", Type::F32) => Some(atomic_add32 as _),
            ("add", Type::F64) => Some(atomic_add64 as _),
            _ => None,
        };
        let f = f.ok_or_else(|| format!("atomic {name} of {ty:?} is not modelled"))?;
        let to = if returns { self.dst_or_sink()? } else { None };
        let at = self.address()?;
        let b = self.src(ty)?;
        let c = if name == "cas" { self.src(ty)? } else { b };
        if hint {
            self.src(Type::Bits(64))?;
        }
        Ok(Op::Atomic { space, bytes: ty.bytes(), to, at, b, c, f })
    }
}

fn atomic_add32(old: u64, b: u64, _: u64) -> u64 {
    float::bits(f32::from_bits(old as u32) + f32::from_bits(b as u32))
}

fn atomic_add64(old: u64, b: u64, _: u64) -> u64 {
    (f64::from_bits(old) + f64::from_bits(b)).to_bits()
}
