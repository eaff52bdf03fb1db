//! Images of modules, kernels, their attributes.

mod common;

use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;

use common::{CLUSTERS, Config, KERNELS, Sim, cluster, get, ok, try_get};

fn text(version: &str, target: &str) -> String {
    format!(
        "// a comment\n.version {version}\n.target {target}\n.address_size 64\n.visible .entry k() {{ ret; }}"
    )
}

#[test]
fn ptx_must_suit_driver_and_device() {
    let sim = Sim::started("XENT_SIM_DEVICES=8.9\nXENT_SIM_DRIVER_VERSION=12080");
    for (version, target, result) in [
        ("8.7", "sm_89", 0),
        ("6.0", "sm_70", 0),
        ("8.8", "sm_89", 222),
        ("9.5", "sm_70", 222),
        ("8.7", "sm_90", 209),
        ("8.7", "sm_90a", 209),
    ] {
        let loaded = sim.load(&text(version, target));
        assert_eq!(loaded.err().unwrap_or(0), result, "{version} {target}");
    }
}

/// An ELF image with one section.
fn elf(section: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 64];
    image[..4].copy_from_slice(b"\x7fELF");
    let (headers, size, count) = (64 + section.len() as u64, 64u16, 1u16);
    image[0x28..0x30].copy_from_slice(&headers.to_le_bytes());
    image[0x3a..0x3c].copy_from_slice(&size.to_le_bytes());
    image[0x3c..0x3e].copy_from_slice(&count.to_le_bytes());
    image.extend(section);
    let mut header = [0u8; 64];
    header[4] = 1;
    header[0x18..0x20].copy_from_slice(&64u64.to_le_bytes());
    header[0x20..0x28].copy_from_slice(&(section.len() as u64).to_le_bytes());
    image.extend(header);
    image
}

#[test]
fn images_of_all_kinds() {
    let sim = Sim::started("");
    let load =
        |image: &[u8]| try_get::<u64>(|module| sim.cuModuleLoadData(module, image.as_ptr().cast()));
    assert_eq!(load(b"no image\0"), Err(200));
    assert_eq!(load(b"\0"), Err(200));
    assert_eq!(load(b".version 8.0\n.target sm_70\n.address_size 64\nnonsense;\0"), Err(218));
    assert_eq!(load(&elf(b"machine code")), Err(209));
    assert_eq!(load(&0xba55_ed50u32.to_le_bytes()), Err(209));
    let ptx = text("8.0", "sm_90").replace('\n', "\0");
    let module = load(&elf(ptx.as_bytes())).unwrap();
    assert_ne!(sim.function(module, "k"), 0);
    assert_eq!(sim.cuModuleLoadData(&mut 0, std::ptr::null()), 1);
}

#[test]
fn the_jit_compiler_says_what_is_wrong() {
    let sim = Sim::started("");
    let image = CString::new(format!("{KERNELS} .visible .entry x() {{ frobnicate; }}")).unwrap();
    let (mut info, mut error) = ([1u8; 100], [1u8; 1000]);
    let options = [3, 4, 5, 6];
    let mut values: [*mut c_void; 4] = [
        info.as_mut_ptr().cast(),
        100 as *mut c_void,
        error.as_mut_ptr().cast(),
        1000 as *mut c_void,
    ];
    let load = |module: *mut u64| {
        let image = image.as_ptr().cast();
        sim.cuModuleLoadDataEx(module, image, 4, options.as_ptr(), values.as_mut_ptr())
    };
    assert_eq!(try_get(load), Err(218));
    let words = CStr::from_bytes_until_nul(&error).unwrap().to_str().unwrap();
    assert!(words.contains("frobnicate"), "{words}");
    assert_eq!((values[3] as usize, info[0]), (words.len() + 1, 0));
}

#[test]
fn functions_are_found_by_name() {
    let sim = Sim::started("");
    let module = sim.load(KERNELS).unwrap();
    let step = sim.function(module, "step");
    assert_eq!(sim.function(module, "step"), step);
    assert_ne!(sim.function(module, "stray"), step);
    let name = CString::new("steps").unwrap();
    assert_eq!(sim.cuModuleGetFunction(&mut 0, module, name.as_ptr()), 500);
    assert_eq!(sim.cuModuleGetFunction(&mut 0, 12345, name.as_ptr()), 400);
    ok(sim.cuModuleUnload(module));
    assert_eq!(sim.cuModuleUnload(module), 400);
    assert_eq!(sim.launch(step, 1, 0, &[0, 0]), 400);
}

#[test]
fn attributes_of_functions() {
    let sim = Sim::started("");
    let module = sim.load(KERNELS).unwrap();
    let (few, shared) = (sim.function(module, "few"), sim.function(module, "shared"));
    assert_eq!([0, 1, 3, 6, 8].map(|at| sim.attribute(few, at)), [64, 0, 0, 90, 48 * 1024]);
    assert_eq!([0, 1, 5].map(|at| sim.attribute(shared, at)), [1024, 40000, 70]);
    assert_eq!(sim.attribute(shared, 8), 48 * 1024 - 40000);
    let most = 227 * 1024 - 40000;
    assert_eq!(sim.cuFuncSetAttribute(shared, 8, most + 1), 1);
    ok(sim.cuFuncSetAttribute(shared, 8, most));
    assert_eq!(sim.attribute(shared, 8), most);
    assert_eq!(sim.cuFuncSetAttribute(shared, 0, 5), 1);
    assert_eq!(sim.cuFuncGetAttribute(&mut 0, 99, shared), 1);
    let four = sim.function(sim.load(CLUSTERS).unwrap(), "four");
    assert_eq!([11, 12, 13, 14].map(|at| sim.attribute(four, at)), [4, 1, 1, 0]);
}

#[test]
fn what_fits_on_the_device() {
    let sim = Sim::started("");
    let module = sim.load(KERNELS).unwrap();
    let fit = |name, threads, shared| {
        let function = sim.function(module, name);
        get::<i32>(|count| {
            sim.cuOccupancyMaxActiveBlocksPerMultiprocessor(count, function, threads, shared)
        })
    };
    assert_eq!(fit("nothing", 32, 0), 32);
    assert_eq!(fit("nothing", 1024, 0), 1);
    assert_eq!(fit("few", 64, 0), 16);
    assert_eq!(fit("few", 65, 0), 0);
    assert_eq!(fit("few", 64, 100 * 1024), 2);
    assert_eq!(fit("few", 64, 227 * 1024), 1);
    assert_eq!(fit("few", 64, 227 * 1024 + 1), 0);

    let any = sim.function(sim.load(CLUSTERS).unwrap(), "any");
    let clusters = |size: u32| {
        let attributes = [cluster(size)];
        let config = Config::new(size, 256, &attributes);
        try_get::<i32>(|count| sim.cuOccupancyMaxActiveClusters(count, any, &config))
    };
    assert!(clusters(2) > clusters(8) && clusters(8) > Ok(0));
    assert_eq!(clusters(16), Err(912));
    ok(sim.cuFuncSetAttribute(any, 14, 1));
    assert!(clusters(16).is_ok_and(|count| count > 0));
    assert_eq!(clusters(17), Err(912));
    assert_eq!(sim.cuOccupancyMaxActiveClusters(null_mut(), any, std::ptr::null()), 1);
}
