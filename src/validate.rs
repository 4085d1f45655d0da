//! Holds every kernel against the reference: the comparator, and the check of one case on one session.

use crate::error::Result;
use crate::graph::{Graph, Signature};
use crate::kernel::{Target, Tolerance};
use crate::op::Case;
use crate::session::Session;
use crate::tensor::{Array, Class, TensorId, TensorType};

/// The first element that is further off than it may be.
#[derive(Clone, PartialEq, Debug)]
pub struct Mismatch {
    /// Position in the tensor, row-major.
    pub index: usize,
    /// What the reference has.
    pub expected: f64,
    /// What the kernel has.
    pub got: f64,
    /// How far they may be apart there.
    pub allowed: f64,
}

/// Result of one comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// Largest error relative to what is allowed; at most one where all is well.
    pub worst: f64,
    /// What failed, if anything did.
    pub failure: Option<String>,
    /// The first wrong element, if it is one element that failed.
    pub mismatch: Option<Mismatch>,
}

/// Normalised mean squared error that a sum of products may have: sum err^2 / sum expected^2.
const NMSE_LIMIT: f64 = 1e-10;

/// Compares element by element. `magnitude` is needed for [`Tolerance::Sum`]. NaN agrees with NaN and an infinity
/// with the same infinity only.
pub fn compare(expected: &Array, got: &Array, tolerance: Tolerance, magnitude: Option<&Array>) -> Comparison {
    if expected.len() != got.len() || std::mem::discriminant(expected) != std::mem::discriminant(got) {
        let failure = format!("wanted {} elements, got {} or another type", expected.len(), got.len());
        return Comparison { worst: f64::INFINITY, failure: Some(failure), mismatch: None };
    }
    let reals = |array: &Array| -> Vec<f64> {
        match array {
            Array::F64(values) => values.clone(),
            Array::U32(words) => words.iter().map(|&w| f64::from(w)).collect(),
            Array::U8(bytes) => bytes.iter().map(|&b| f64::from(b)).collect(),
        }
    };
    let (expected, got) = (reals(expected), reals(got));
    let mut comparison = Comparison { worst: 0.0, failure: None, mismatch: None };
    let (mut error_squares, mut squares) = (0.0, 0.0);
    for (index, (&e, &g)) in expected.iter().zip(&got).enumerate() {
        let allowed = allowed(tolerance, e, magnitude.and_then(|m| m.f64().get(index)).copied());
        let equal = e == g || (e.is_nan() && g.is_nan()) || (tolerance == Tolerance::Exact && e as f32 == g as f32);
        let error = if equal { 0.0 } else { (e - g).abs() };
        // Not `error > allowed`: a NaN must fail.
        let within = error <= allowed;
        let ratio = if equal {
            0.0
        } else if within {
            error / allowed
        } else {
            error / allowed.max(f64::MIN_POSITIVE)
        };
        comparison.worst = if ratio.is_nan() { f64::INFINITY } else { comparison.worst.max(ratio) };
        if !within && comparison.mismatch.is_none() {
            comparison.failure =
                Some(format!("element {index}: wanted {e:e}, got {g:e}, off by {error:e} of {allowed:e}"));
            comparison.mismatch = Some(Mismatch { index, expected: e, got: g, allowed });
        }
        error_squares += error * error;
        squares += e * e;
    }
    let plain_sum = matches!(tolerance, Tolerance::Sum { rtol: 0.0, atol: 0.0, .. });
    let close_on_average = error_squares <= NMSE_LIMIT * squares;
    if plain_sum && comparison.failure.is_none() && !close_on_average {
        comparison.failure = Some(format!("normalised mean squared error {:e}", error_squares / squares));
    }
    comparison
}

fn allowed(tolerance: Tolerance, expected: f64, magnitude: Option<f64>) -> f64 {
    match tolerance {
        Tolerance::Exact => 0.0,
        Tolerance::Close { rtol, atol } => atol + rtol * expected.abs(),
        Tolerance::Sum { terms, rtol, atol } => {
            let sum = 4.0 * (terms as f64).sqrt() * 2f64.powi(-24) * magnitude.unwrap_or(0.0);
            sum + atol + rtol * expected.abs()
        }
    }
}

/// A case with its inputs and everything that its outputs are held against.
pub struct Expectation {
    inputs: Vec<Array>,
    outputs: Vec<Array>,
    magnitudes: Vec<Option<Array>>,
    tolerances: Vec<Tolerance>,
}

impl Expectation {
    /// Runs the reference on the case's inputs.
    ///
    /// # Errors
    /// If the op cannot take the inputs.
    pub fn of(case: &Case) -> Result<Self> {
        let inputs = case.arrays();
        let outputs = case.expected(&inputs)?;
        let (input_types, output_types) = (case.input_types(), case.output_types()?);
        let signature = Signature { inputs: &input_types, outputs: &output_types };
        let tolerances = case.op.tolerance(&signature);
        let magnitudes = if tolerances.iter().any(|t| matches!(t, Tolerance::Sum { .. })) {
            case.op.magnitude(&signature, &inputs.iter().collect::<Vec<_>>()).into_iter().map(Some).collect()
        } else {
            vec![None; outputs.len()]
        };
        Ok(Self { inputs, outputs, magnitudes, tolerances })
    }
}

/// Names of the kernels that a case has on a target.
///
/// # Errors
/// If the op cannot take the inputs.
pub fn variant_names(case: &Case, target: &Target) -> Result<Vec<&'static str>> {
    let (inputs, outputs) = (case.input_types(), case.output_types()?);
    let variants = case.op.variants(&Signature { inputs: &inputs, outputs: &outputs }, target);
    Ok(variants.iter().map(|v| v.name).collect())
}

/// Words of a known pattern behind each tensor.
const GUARD_WORDS: usize = 64;

/// Runs one case on a session with one kernel (or the CPU executor's) and compares all outputs. Outputs are filled
/// with NaN first and fenced with guard words; inputs must be unchanged.
///
/// # Errors
/// If the kernel does not compile or the device is lost.
pub fn check(
    session: &mut Session,
    case: &Case,
    expectation: &Expectation,
    variant: Option<&str>,
) -> Result<Comparison> {
    session.set_guard_words(GUARD_WORDS);
    session.set_variant(variant);
    // A session keeps its tensors: names are made unique, so that cases of other shapes do not meet.
    let prefix = format!("{} {} {variant:?} ", case.op.name(), case.label);
    let mut graph = Graph::new();
    let types = case.input_types();
    let name = |kind: &str, i: usize| format!("{prefix}{kind} {i}");
    let inputs: Vec<TensorId> = types
        .iter()
        .enumerate()
        .map(|(i, ty)| graph.persistent(Class::State, &name("input", i), ty.clone()))
        .collect::<Result<_>>()?;
    let outputs = graph.apply_shared(case.op.clone(), &inputs)?;
    let in_place = case.op.in_place();
    for (o, &output) in outputs.iter().enumerate() {
        if !in_place.iter().any(|pair| pair.0 == o) {
            graph.keep(output, &name("output", o))?;
        }
    }
    let program = session.record(&graph)?;
    for (i, (array, ty)) in expectation.inputs.iter().zip(&types).enumerate() {
        if session.contains(&name("input", i)) {
            session.write_words(&name("input", i), &array.to_words(ty))?;
        }
    }
    let output_types = case.output_types()?;
    let place = |o: usize| match in_place.iter().find(|pair| pair.0 == o) {
        Some(&(_, input)) => name("input", input),
        None => name("output", o),
    };
    for (o, ty) in output_types.iter().enumerate() {
        if !in_place.iter().any(|pair| pair.0 == o) {
            session.write_words(&place(o), &vec![f32::NAN.to_bits(); ty.words()])?;
        }
    }
    session.run(program, 1)?;
    let mut total = Comparison { worst: 0.0, failure: None, mismatch: None };
    for (o, expected) in expectation.outputs.iter().enumerate() {
        let got = session.read_array(&place(o))?;
        let magnitude = expectation.magnitudes.get(o).and_then(Option::as_ref);
        let tolerance = expectation.tolerances.get(o).copied().unwrap_or(Tolerance::Exact);
        let found = compare(expected, &got, tolerance, magnitude);
        total.worst = total.worst.max(found.worst);
        if total.failure.is_none() {
            total.failure = found.failure.map(|f| format!("output {o}, {f}"));
            total.mismatch = found.mismatch;
        }
    }
    for (i, (array, ty)) in expectation.inputs.iter().zip(&types).enumerate() {
        let replaced = in_place.iter().any(|pair| pair.1 == i);
        if !replaced && session.contains(&name("input", i)) && changed(session, &name("input", i), array, ty)? {
            total.failure.get_or_insert(format!("input {i} was changed"));
        }
    }
    if let Some(tensor) = session.overrun()? {
        total.failure.get_or_insert(format!("written past the end of {tensor}"));
    }
    Ok(total)
}

fn changed(session: &mut Session, name: &str, array: &Array, ty: &TensorType) -> Result<bool> {
    Ok(session.read_words(name)? != array.to_words(ty))
}
