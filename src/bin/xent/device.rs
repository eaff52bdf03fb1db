//! Where to compute.

use std::str::FromStr;

use xent::{Context, ContextOptions, Device, DeviceKind};

/// What `--device` says.
#[derive(Clone, Copy)]
pub enum Choice {
    Auto,
    Cpu,
    Cuda(u32),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("cuda") {
            None if text == "auto" => Ok(Choice::Auto),
            None if text == "cpu" => Ok(Choice::Cpu),
            Some("") => Ok(Choice::Cuda(0)),
            Some(rest) => {
                let number = rest.strip_prefix(':').and_then(|number| number.parse().ok());
                number.map(Choice::Cuda).ok_or_else(|| "expected cuda:N with a number N".into())
            }
            None => Err("expected auto, cpu, cuda or cuda:N".into()),
        }
    }
}

impl Choice {
    /// A context with these options on it.
    pub fn context(self, options: ContextOptions) -> xent::Result<Context> {
        Context::new(match self {
            Choice::Auto => options,
            Choice::Cpu => options.device(Device::cpu()),
            Choice::Cuda(ordinal) => options.device(Device::cuda(ordinal)?),
        })
    }
}

/// The device with the name of the GPU.
pub fn describe(device: &Device) -> String {
    #[cfg(target_os = "linux")]
    if let DeviceKind::Cuda { ordinal } = device.kind()
        && let Ok(name) = xent::cuda::driver::Driver::get().and_then(|driver| driver.name(ordinal))
    {
        return format!("{device}, {name}");
    }
    device.to_string()
}
