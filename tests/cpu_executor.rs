//! What the CPU executor promises of a replayed step: it allocates nothing, and its results do not depend on the number
//! of threads.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::model::Preset;
use degrain::session::{ProgramId, Session};
use degrain::train::synthetic_step;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts what each thread asks it for: threads that begin or end beside a test ask as well.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: all calls go to the system's allocator as they come.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A training step with a batch that no tile divides.
fn prepare(preset: &str) -> (Session, ProgramId, Vec<String>) {
    let step = synthetic_step(&Preset::load(preset).unwrap(), 13, None).unwrap();
    let mut session = Session::cpu();
    let program = session.record(&step.graph).unwrap();
    session.write_used(&step.values).unwrap();
    let names = step.values.iter().map(|(name, _)| name.clone()).filter(|name| session.contains(name)).collect();
    (session, program, names)
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

const PRESETS: [&str; 6] = ["lfw-conv", "mnist-dae", "quickdraw-simple", "quickdraw-deep", "quickdraw-conv", "vae"];

#[test]
fn a_replayed_step_allocates_nothing() {
    for preset in PRESETS {
        let allocations = with_threads(1, || {
            let (mut session, program, _) = prepare(preset);
            session.run(program, 3).unwrap();
            let before = ALLOCATIONS.get();
            assert!(before > 0, "what this thread allocates is not counted");
            session.run(program, 5).unwrap();
            ALLOCATIONS.get() - before
        });
        assert_eq!(allocations, 0, "{preset}: allocations in five steps");
    }
}

#[test]
fn steps_give_the_same_bits_on_any_number_of_threads() {
    for preset in PRESETS {
        let run = |threads: usize| {
            with_threads(threads, || {
                let (mut session, program, names) = prepare(preset);
                session.run(program, 3).unwrap();
                names.iter().map(|name| (name.clone(), session.read_words(name).unwrap())).collect::<Vec<_>>()
            })
        };
        let expected = run(1);
        assert!(expected.iter().any(|(name, _)| name.contains("weight")), "{preset}: no weights were compared");
        for threads in [2, 3, 5] {
            assert!(run(threads) == expected, "{preset}: {threads} threads give other bits than one");
        }
    }
}
