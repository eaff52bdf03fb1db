//! The C ABI: the functions of cuda.h, by the names that its macros give them.
//!
//! Each takes apart what the caller passes and calls the part of the driver that knows.
#![allow(unsafe_code)] // symbols of C, pointers of the caller
#![allow(non_snake_case)] // their names

mod context;
mod control;
mod device;
mod event;
mod graph;
mod init;
mod launch;
mod memory;
mod module;
mod stream;

use std::fmt::Write;
use std::mem::MaybeUninit;

use crate::code::{Code, Outcome};

/// Where a result goes, or null.
type Out<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// Writes a result.
fn put<T>(out: Out<T>, value: T) -> Outcome {
    out.ok_or(Code::INVALID_VALUE)?.write(value);
    Ok(())
}

/// Writes a result if somebody wants it.
fn put_if<T>(out: Out<T>, value: T) {
    if let Some(out) = out {
        out.write(value);
    }
}

/// An argument, for the log.
#[derive(Clone, Copy)]
enum Shown {
    Number(i64),
    Address(u64),
    Real(f32),
}

trait Show {
    fn shown(&self) -> Shown;
}

macro_rules! show {
    ($($type:ty => |$value:ident| $shown:expr;)*) => {$(
        impl Show for $type {
            fn shown(&self) -> Shown {
                let $value = *self;
                $shown
            }
        }
    )*};
}

show! {
    u8 => |x| Shown::Number(x.into());
    u16 => |x| Shown::Number(x.into());
    u32 => |x| Shown::Number(x.into());
    i32 => |x| Shown::Number(x.into());
    usize => |x| Shown::Number(x as i64);
    u64 => |x| Shown::Address(x);
    f32 => |x| Shown::Real(x);
}

impl<T> Show for *const T {
    fn shown(&self) -> Shown {
        Shown::Address(*self as u64)
    }
}

impl<T> Show for *mut T {
    fn shown(&self) -> Shown {
        Shown::Address(*self as u64)
    }
}

impl<T> Show for Option<&mut T> {
    fn shown(&self) -> Shown {
        Shown::Address(self.as_deref().map_or(0, |out| std::ptr::from_ref(out) as u64))
    }
}

impl<T> Show for Option<&T> {
    fn shown(&self) -> Shown {
        Shown::Address(self.map_or(0, |value| std::ptr::from_ref(value) as u64))
    }
}

impl<T> Show for Option<unsafe extern "C" fn(*mut T)> {
    fn shown(&self) -> Shown {
        Shown::Address(self.map_or(0, |function| function as usize as u64))
    }
}

/// All arguments, for the log.
fn show(arguments: &[(&str, Shown)]) -> String {
    let mut text = String::new();
    for (at, (name, value)) in arguments.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let _ = match value {
            Shown::Number(value) => write!(text, "{comma}{name}={value}"),
            Shown::Address(value) => write!(text, "{comma}{name}={value:#x}"),
            Shown::Real(value) => write!(text, "{comma}{name}={value}"),
        }; // into a String
    }
    text
}

/// Declares functions of the C ABI: when each may be called, its name, that of its twin for streams
/// of threads, its arguments, and what it does with the driver.
macro_rules! exports {
    ($($phase:ident fn $name:ident $arguments:tt $(= $twin:ident)? |$driver:ident| $body:block)*) => {
        $(
            exports!(@function $phase $name $arguments $driver $body);
            $(exports!(@function $phase $twin $arguments $driver $body);)?
        )*

        /// What this module exports.
        pub(super) fn symbols() -> Vec<(&'static str, *const ())> {
            vec![$(
                (stringify!($name), $name as *const ()),
                $((stringify!($twin), $twin as *const ()),)?
            )*]
        }
    };
    (@function $phase:ident $name:ident ($($argument:ident: $type:ty),* $(,)?)
        $driver:ident $body:block) => {
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> i32 {
            let arguments = [$((stringify!($argument), super::Show::shown(&$argument))),*];
            let phase = $crate::driver::Phase::$phase;
            let show = || super::show(&arguments);
            $crate::driver::enter(stringify!($name), phase, &show, |$driver| $body)
        }
    };
}
use exports;

/// Every function that `cuGetProcAddress` knows.
fn symbols() -> Vec<(&'static str, *const ())> {
    [
        context::symbols(),
        device::symbols(),
        event::symbols(),
        graph::symbols(),
        init::symbols(),
        launch::symbols(),
        memory::symbols(),
        module::symbols(),
        stream::symbols(),
    ]
    .concat()
}
