//! Opening the device a run computes on.

use candle_core::{Device, utils};
use transplant_core::Invalid;

use crate::resolved::DeviceChoice;

/// Opens the device, and names it for the lock file.
///
/// # Errors
/// When this binary was not built for it, or the machine lacks it.
pub fn open(choice: DeviceChoice) -> Result<(Device, String), Invalid> {
    match choice {
        DeviceChoice::Cpu => Ok((Device::Cpu, "cpu".to_owned())),
        DeviceChoice::Cuda(n) if utils::cuda_is_available() => cuda(n),
        DeviceChoice::Cuda(_) => Err(Invalid::new("this binary was not built with CUDA")
            .help("use `cpu` or `auto`, or build it with the feature `cuda` of `transplant-cli`")),
        DeviceChoice::Metal if utils::metal_is_available() => metal(),
        DeviceChoice::Metal => Err(Invalid::new("this binary was not built with Metal")
            .help("use `cpu` or `auto`, or build it with the feature `metal` of `transplant-cli`")),
        // A GPU that cannot be opened is a machine without one: `auto` takes what there is.
        DeviceChoice::Auto if utils::cuda_is_available() => cuda(0).or_else(|_| open(DeviceChoice::Cpu)),
        DeviceChoice::Auto if utils::metal_is_available() => metal().or_else(|_| open(DeviceChoice::Cpu)),
        DeviceChoice::Auto => open(DeviceChoice::Cpu),
    }
}

fn cuda(n: usize) -> Result<(Device, String), Invalid> {
    let device = Device::new_cuda(n).map_err(|e| Invalid::new(format!("CUDA device {n} cannot be opened: {e}")))?;
    Ok((device, format!("cuda:{n}")))
}

fn metal() -> Result<(Device, String), Invalid> {
    let device = Device::new_metal(0).map_err(|e| Invalid::new(format!("the Metal device cannot be opened: {e}")))?;
    Ok((device, "metal".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_this_binary_lacks_is_the_users_error() {
        assert_eq!(open(DeviceChoice::Cpu).unwrap().1, "cpu");
        assert!(open(DeviceChoice::Auto).is_ok());
        if !utils::metal_is_available() {
            assert!(open(DeviceChoice::Metal).unwrap_err().message.contains("Metal"));
        }
    }
}
