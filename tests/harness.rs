//! The harness must notice what is wrong: kernels with one planted bug each, and what the failure says of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use degrain::gpu::{Adapter, adapters};
use degrain::graph::{Op, Signature};
use degrain::kernel::{Binding, Launch, Shader, Target, Variant};
use degrain::op::{Case, Values};
use degrain::tensor::{Array, TensorType};
use degrain::validate::{BareKernel, Filter, KernelCase, Report, Subject, Suite, missing_adapter};
use libtest_mimic::{Arguments, Failed, Trial};

degrain::parameter_block! {
    struct Scale { len: u32, factor: f32 }
}

const HEAD: &str = "
struct Scale { len: u32, factor: f32 }
@group(0) @binding(0) var<uniform> p: Scale;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
";
const GUARD: &str = "if (i >= p.len) { return; }\n";
const END: &str = "}\n";

/// The suite of `y = factor x` over a few lengths, with this text as the kernel.
fn scale(files: &'static [&'static str]) -> Suite {
    kernel(files).suite([1, 63, 64, 65, 130].map(case))
}

fn kernel(files: &'static [&'static str]) -> BareKernel<Scale> {
    BareKernel::new(Shader { name: "scale", files }, |p: &Scale, inputs, outputs| {
        for (y, x) in outputs[0].f64_mut().iter_mut().zip(inputs[0].f64()) {
            *y = f64::from(p.factor) * x;
        }
    })
    .workgroups(|p, [size, ..]| [p.len.div_ceil(size), 1, 1])
}

fn case(len: usize) -> KernelCase<Scale> {
    let ty = TensorType::f32([len]);
    KernelCase::new(format!("len {len}"), Scale { len: len as u32, factor: 1.5 })
        .input(ty.clone(), Values::Uniform(0.5, 1.0))
        .output(ty)
}

/// What each planted bug is called, the kernel, and what the first failure must say.
const BUGS: &[(&str, &[&str], &str)] = &[
    ("a sign", &[HEAD, GUARD, "y[i] = -p.factor * x[i];", END], "output 0, element 0: expected "),
    ("an index", &[HEAD, GUARD, "y[i] = p.factor * x[max(i, 1u) - 1u];", END], "output 0, element 1: expected "),
    (
        "one wrong element",
        &[HEAD, GUARD, "y[i] = p.factor * x[i] + select(0.0, 1e-3, i == 62u);", END],
        "output 0, element 62: expected ",
    ),
    (
        "an infinity",
        &[HEAD, GUARD, "y[i] = p.factor * x[i] / select(1.0, x[i] - x[i], i == 62u);", END],
        "output 0, element 62: expected ",
    ),
    (
        "the last element left out",
        &[HEAD, "if (i + 1u >= p.len) { return; }", "y[i] = p.factor * x[i];", END],
        "output 0, element 0 was never written",
    ),
    ("nothing written", &[HEAD, "if (i > p.len) { y[i] = x[i]; }", END], "output 0, element 0 was never written"),
    ("added to what was there", &[HEAD, GUARD, "y[i] += p.factor * x[i];", END], "output 0, element 0: expected "),
    (
        "a result that depends on what was there",
        &[HEAD, GUARD, "y[i] = p.factor * x[i] * select(1.0, 1.0000002, y[i] > 0.0);", END],
        "in one run and ",
    ),
    ("no guard", &[HEAD, "y[i] = p.factor * x[min(i, p.len - 1u)];", END], "written past the end of output 0"),
    ("a read past the end", &[HEAD, GUARD, "y[i] = p.factor * x[i + 1u];", END], "output 0, element 0: expected "),
];

fn notices(adapter: &Adapter, checked: bool, files: &'static [&'static str], says: &str) -> Result<(), Failed> {
    let report = scale(files).run(&mut Subject::gpu(adapter, checked)?, || {})?;
    let first = report.failures.first().ok_or_else(|| Failed::from("the bug was not noticed"))?;
    if !first.what.contains(says) {
        return Err(Failed::from(format!("it said \"{}\"", first.what)));
    }
    let text = report.to_string();
    for part in ["FAILED scale [kernel] forward", "case \"len ", "launch scale (len=", "seeds of the inputs 0x"] {
        if !text.contains(part) {
            return Err(Failed::from(format!("no \"{part}\" in {text}")));
        }
    }
    Ok(())
}

fn passes(adapter: &Adapter, checked: bool) -> Result<(), Failed> {
    let suite = scale(&[HEAD, GUARD, "y[i] = p.factor * x[i];", END]);
    let report = suite.run(&mut Subject::gpu(adapter, checked)?, || {})?;
    assert_eq!((report.checked(), report.failed(), report.rows.len()), (5, 0, 1), "{report}");
    Ok(())
}

/// An op whose kernel writes into its input.
#[derive(Debug)]
struct Spoiler;

impl Op for Spoiler {
    fn name(&self) -> &'static str {
        "spoiler"
    }

    fn infer(&self, inputs: &[TensorType]) -> degrain::Result<Vec<TensorType>> {
        Ok(inputs.to_vec())
    }

    fn variants(&self, signature: &Signature<'_>, _: &Target) -> Vec<Variant> {
        const TEXT: &str = "@group(0) @binding(1) var<storage, read_write> x: array<f32>;
            @group(0) @binding(2) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3<u32>) {
                y[id.x] = x[id.x];
                if (id.x == 3u) { x[id.x] += 1.0; }
            }";
        let launch = Launch {
            shader: Shader { name: "spoiler", files: &[TEXT] },
            constants: Vec::new(),
            parameters: Vec::new(),
            bindings: vec![Binding::Input(0), Binding::Output(0)],
            workgroups: [signature.outputs[0].shape.len() as u32, 1, 1],
        };
        vec![Variant::single("only", 1.0, launch)]
    }

    fn reference(&self, _: &Signature<'_>, inputs: &[&Array], outputs: &mut [Array]) {
        outputs[0] = inputs[0].clone();
    }
}

fn a_changed_input_is_noticed(adapter: &Adapter, checked: bool) -> Result<(), Failed> {
    let case = Case::new("five", Spoiler, vec![(TensorType::f32([5]), Values::Uniform(0.0, 1.0))]);
    let suite = Suite::of("spoiler", vec![case]);
    let report = suite.run(&mut Subject::gpu(adapter, checked)?, || {})?;
    assert_eq!(report.failures[0].what, "input 0 was changed");
    assert!(suite.check_shaders().unwrap_err().to_string().contains("binding 1 is an input and declared read_write"));
    Ok(())
}

/// A NaN is what this kernel should compute: only that nothing was written tells the two apart.
fn an_untouched_nan_is_noticed(adapter: &Adapter, checked: bool) -> Result<(), Failed> {
    let run = |files| -> Result<Report, Failed> {
        let kernel = BareKernel::new(Shader { name: "nan", files }, |_: &Scale, _, outputs| {
            outputs[0].f64_mut().fill(f64::NAN);
        });
        Ok(kernel.suite([case(3)]).run(&mut Subject::gpu(adapter, checked)?, || {})?)
    };
    let written = run(&[HEAD, GUARD, "y[i] = bitcast<f32>(0x7fc00000u | (p.len & 1u)) + x[i];", END])?;
    assert_eq!(written.failed(), 0, "{written}");
    let untouched = run(&[HEAD, "if (i > p.len) { y[i] = x[i]; }", END])?;
    assert_eq!(untouched.failures[0].what, "output 0, element 0 was never written");
    Ok(())
}

fn one_case_can_be_repeated(adapter: &Adapter, checked: bool) -> Result<(), Failed> {
    let suite = || scale(&[HEAD, GUARD, "y[i] = p.factor * x[i];", END]);
    let filter = Filter { case: Some("len 64".to_owned()), ..Filter::default() };
    let report = suite().filtered(&filter)?.run(&mut Subject::gpu(adapter, checked)?, || {})?;
    assert_eq!(report.checked(), 1);
    let unknown = |filter: &Filter| suite().filtered(filter).map(|_| ()).unwrap_err().to_string();
    let op = Filter { op: Some("scael".to_owned()), ..Filter::default() };
    assert_eq!(unknown(&op), "--op: there is no op scael; there are scale");
    let case = Filter { case: Some("len 7".to_owned()), ..Filter::default() };
    assert_eq!(unknown(&case), "--case: no case has \"len 7\" in its label");
    let variant = Filter { variant: Some("tiled".to_owned()), ..Filter::default() };
    let suite = suite().filtered(&variant)?;
    let error = suite.run(&mut Subject::gpu(adapter, checked)?, || {}).unwrap_err().to_string();
    assert_eq!(error, "--variant: no case has a kernel tiled on this device");
    Ok(())
}

fn shader_problem(suite: &Suite) -> String {
    suite.check_shaders().unwrap_err().to_string()
}

fn blocks_must_agree() -> Result<(), Failed> {
    const KERNEL: &[&str] = &[HEAD, GUARD, "y[i] = p.factor * x[i];", END];
    assert_eq!(scale(KERNEL).check_shaders()?, 5 * Target::ALL.len());
    mod other {
        degrain::parameter_block! { pub(crate) struct Swapped { factor: f32, len: u32 } }
        degrain::parameter_block! { pub(crate) struct Longer { len: u32, factor: f32, more: u32 } }
        degrain::parameter_block! { pub(crate) struct OtherKind { len: i32, factor: f32 } }
    }
    let shader = Shader { name: "scale", files: KERNEL };
    let swapped = BareKernel::new(shader, |_: &other::Swapped, _, _| {}).suite([]);
    let says =
        "shader scale: parameter block: member 0 is len: u32 at byte 0 in WGSL and factor: f32 at byte 0 in Rust";
    assert_eq!(shader_problem(&swapped), says);
    let longer = BareKernel::new(shader, |_: &other::Longer, _, _| {}).suite([]);
    assert!(shader_problem(&longer).ends_with("member 2 is nothing in WGSL and more: u32 at byte 8 in Rust"));
    let kind = BareKernel::new(shader, |_: &other::OtherKind, _, _| {}).suite([]);
    assert!(shader_problem(&kind).ends_with("member 0 is len: u32 at byte 0 in WGSL and len: i32 at byte 0 in Rust"));
    let none = BareKernel::new(shader, |_: &(), _, _| {}).suite([]);
    assert!(shader_problem(&none).ends_with("member 0 is len: u32 at byte 0 in WGSL and nothing in Rust"));
    Ok(())
}

fn bindings_must_agree() -> Result<(), Failed> {
    let ty = || TensorType::f32([3]);
    let kernel = || kernel(&[HEAD, GUARD, "y[i] = p.factor * x[i];", END]);
    let two_inputs = kernel().suite([case(3).input(ty(), Values::Uniform(0.0, 1.0))]);
    let says = "shader scale: declares 1 storage bindings that are read and 1 that are written, the case has 2 inputs \
                and 1 outputs";
    assert_eq!(shader_problem(&two_inputs), says);
    assert!(shader_problem(&kernel().suite([case(3).output(ty())])).ends_with("1 inputs and 2 outputs"));
    let grid = kernel().workgroups(|_, _| [65_536, 1, 1]).suite([case(3)]);
    assert!(shader_problem(&grid).contains("each axis takes 1 to 65535"));
    Ok(())
}

fn invalid_shaders_are_shown_at_their_place() -> Result<(), Failed> {
    let parse = shader_problem(&scale(&[HEAD, "y[i] = p.factor * x[i]", END]));
    assert!(parse.contains("shader scale:") && parse.contains("scale:10:"), "{parse}");
    let types = shader_problem(&scale(&[HEAD, "y[i] = p.len * x[i];", END]));
    assert!(types.contains("scale:9:") && types.contains("p.len * x[i]"), "{types}");
    let memory = shader_problem(&scale(&["var<workgroup> tile: array<f32, 5000>;", HEAD, "y[i] = tile[i];", END]));
    assert!(memory.contains("20000 bytes of workgroup memory, WebGPU allows 16384"), "{memory}");
    Ok(())
}

fn main() -> std::process::ExitCode {
    let mut trials = vec![
        Trial::test("blocks_must_agree", blocks_must_agree),
        Trial::test("bindings_must_agree", bindings_must_agree),
        Trial::test("invalid_shaders_are_shown_at_their_place", invalid_shaders_are_shown_at_their_place),
    ];
    let found = adapters();
    if found.is_empty() {
        trials.push(missing_adapter("gpu"));
    }
    type Test = fn(&Adapter, bool) -> Result<(), Failed>;
    let tests: [(&str, Test); 4] = [
        ("passes", passes),
        ("a_changed_input_is_noticed", a_changed_input_is_noticed),
        ("an_untouched_nan_is_noticed", an_untouched_nan_is_noticed),
        ("one_case_can_be_repeated", one_case_can_be_repeated),
    ];
    for (i, adapter) in found.iter().enumerate() {
        for checked in [true, false] {
            let place = format!("gpu::{i}::{}", if checked { "checked" } else { "trusted" });
            for (name, test) in tests {
                let adapter = adapter.clone();
                trials.push(Trial::test(format!("{place}::{name}"), move || test(&adapter, checked)));
            }
            for &(bug, files, says) in BUGS {
                let adapter = adapter.clone();
                let test = move || notices(&adapter, checked, files, says);
                trials.push(Trial::test(format!("{place}::notices {bug}"), test));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
