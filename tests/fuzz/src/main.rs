//! Feeds a target: without end if it was built by `scripts/fuzz`, else with the files it is given.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod mutate;

#[cfg(fuzzing)]
mod endless {
    use std::sync::LazyLock;

    use tenon_fuzz::Target;

    /// libFuzzer has the command line.
    static TARGET: LazyLock<Target> = LazyLock::new(|| {
        let name = std::env::var("TENON_FUZZ_TARGET").expect("TENON_FUZZ_TARGET");
        Target::find(&name).expect("a target's name")
    });

    libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));

    // Half of what is a document stays one.
    libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
        let changed = (seed % 2 == 0)
            .then(|| super::mutate::document(&data[..size], seed))
            .flatten()
            .filter(|changed| changed.len() <= max_size);
        match changed {
            Some(changed) => {
                data[..changed.len()].copy_from_slice(&changed);
                changed.len()
            }
            None => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
        }
    });
}

#[cfg(not(fuzzing))]
#[expect(clippy::print_stdout, reason = "this is what it is asked for")]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    use tenon_fuzz::{TARGETS, Target};

    let mut arguments = std::env::args_os().skip(1);
    let Some(name) = arguments.next() else {
        for target in TARGETS {
            println!("{}", target.name);
        }
        return ExitCode::SUCCESS;
    };
    let Some(target) = name.to_str().and_then(Target::find) else {
        eprintln!("no target {}", name.display());
        return ExitCode::FAILURE;
    };
    for path in arguments {
        match std::fs::read(&path) {
            Ok(bytes) => (target.run)(&bytes),
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
        println!("{}: holds", path.display());
    }
    ExitCode::SUCCESS
}
