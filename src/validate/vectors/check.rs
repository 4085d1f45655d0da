//! Runs one case forward and backward, on the reference and on a session, and compares.

use super::attributes::Attributes;
use super::case_file::CaseFile;
use super::layout::Role;
use super::ports::{FileArray, Port};
use super::table::{VectorOp, find};
use super::tape::Tape;
use super::{Direction, Outcome, Problem, REFERENCE, VectorResult};
use crate::cpu::Oracle;
use crate::error::Result;
use crate::kernel::Tolerance;
use crate::plan::{Plan, PlanOptions};
use crate::session::Session;
use crate::tensor::{Array, Class, DType, TensorId, TensorType};
use crate::validate::compare;
use std::path::Path;

/// All rows of the case in `folder`.
pub(super) fn run_case(name: &str, folder: &Path, session: &mut Session) -> Vec<VectorResult> {
    let row = |op: &str, direction: Option<Direction>, backend: Option<&str>, outcome: Outcome| {
        let (case, op) = (name.to_owned(), op.to_owned());
        VectorResult { case, op, direction, backend: backend.map(str::to_owned), outcome }
    };
    let file = match CaseFile::read(folder) {
        Ok(file) => file,
        Err(problem) => return vec![row("", None, None, problem.into())],
    };
    let op = file.op.clone();
    let case = match Case::load(folder, file) {
        Ok(case) => case,
        Err(problem) => return vec![row(&op, None, None, problem.into())],
    };
    let device = session.device().to_owned();
    let mut results = Vec::new();
    for direction in case.directions() {
        match case.record(direction) {
            Ok(pass) => {
                let expected = pass.outcome(pass.run_reference(), &case.file);
                let found = pass.outcome(pass.run_on(session), &case.file);
                results.push(row(&op, Some(direction), Some(REFERENCE), expected));
                results.push(row(&op, Some(direction), Some(&device), found));
            }
            Err(problem) => results.push(row(&op, Some(direction), None, problem.into())),
        }
    }
    results
}

/// A case with its op and inputs.
struct Case<'a> {
    folder: &'a Path,
    file: CaseFile,
    op: &'static VectorOp,
    inputs: Vec<(Port, FileArray)>,
}

/// The recorded pass of a case.
struct Pass {
    tape: Tape,
    compared: Vec<Compared>,
}

/// A tensor of a recorded pass and what it is held against.
struct Compared {
    expected: FileArray,
    role: Role,
    ty: TensorType,
    /// The tensor's name in the store.
    stored: String,
    /// Whether the pass writes it without reading it, so that it can be poisoned first.
    fresh: bool,
}

impl<'a> Case<'a> {
    /// Finds the op, checks the attributes' names and reads the inputs.
    fn load(folder: &'a Path, file: CaseFile) -> Result<Self, Problem> {
        let op = find(&file.op)?;
        Attributes::new(op.name, op.attributes, &file.attributes)?;
        expect_known(op.name, "input", op.inputs, file.inputs.keys())?;
        expect_known(op.name, "output", op.outputs, file.outputs.keys())?;
        expect_known(op.name, "gradient of", op.inputs, file.gradients().map(|(name, _)| name))?;
        let mut inputs = Vec::new();
        for &port in op.inputs {
            match file.inputs.get(port.name) {
                Some(path) => inputs.push((port, FileArray::read(folder, path, port.role)?)),
                None if port.required => {
                    return Err(Problem::Wrong(format!("{} needs an input `{}`", op.name, port.name)));
                }
                None => {}
            }
        }
        Ok(Self { folder, file, op, inputs })
    }

    /// The passes that the case has something to compare with.
    fn directions(&self) -> impl Iterator<Item = Direction> + use<> {
        let forward = (!self.file.outputs.is_empty()).then_some(Direction::Forward);
        let backward = self.file.gradients().next().map(|_| Direction::Backward);
        forward.into_iter().chain(backward)
    }

    /// Records the pass and reads what it is held against.
    fn record(&self, direction: Direction) -> Result<Pass, Problem> {
        let mut tape = Tape::default();
        for (port, array) in &self.inputs {
            let (shape, values) = array.ours(port.role, self.file.layout);
            tape.add_input(port.name, shape, values)?;
        }
        let attributes = Attributes::new(self.op.name, self.op.attributes, &self.file.attributes)?;
        let outputs = (self.op.record)(&mut tape, &attributes)?;
        let mut pass = Pass { tape, compared: Vec::new() };
        match direction {
            Direction::Forward => self.compare_outputs(&mut pass, &outputs)?,
            Direction::Backward => self.compare_gradients(&mut pass, &outputs)?,
        }
        Ok(pass)
    }

    fn compare_outputs(&self, pass: &mut Pass, outputs: &[TensorId]) -> Result<(), Problem> {
        for (name, path) in &self.file.outputs {
            let port = self.op.outputs.iter().zip(outputs).find(|(port, _)| port.name == name);
            let (port, &id) =
                port.ok_or_else(|| Problem::Wrong(format!("{} has no output `{name}` here", self.op.name)))?;
            self.hold(pass, id, &format!("output {name}"), port.role, path)?;
        }
        Ok(())
    }

    fn compare_gradients(&self, pass: &mut Pass, outputs: &[TensorId]) -> Result<(), Problem> {
        let (Some(port), Some(&output)) = (self.op.outputs.first(), outputs.first()) else { return Ok(()) };
        let ty = pass.tape.graph.ty(output).clone();
        let upstream = match &self.file.upstream {
            Some(path) => {
                let array = FileArray::read(self.folder, path, port.role)?;
                array.expect_shape(&ty.shape, port.role, self.file.layout)?;
                array.ours(port.role, self.file.layout).1
            }
            None if ty.shape.len() == 1 => vec![1.0],
            None => return Err(Problem::Wrong("`gradients` needs an `upstream` gradient".to_owned())),
        };
        let upstream = pass.tape.tensor("upstream", ty, Array::F64(upstream))?;
        let wanted: Vec<(&str, &Path)> = self.file.gradients().collect();
        let inputs = wanted.iter().map(|(name, _)| pass.tape.input(name)).collect::<Result<Vec<TensorId>, _>>()?;
        let gradients = pass.tape.graph.vector_jacobian(&[(output, upstream)], &inputs)?;
        for ((name, path), id) in wanted.into_iter().zip(gradients) {
            let role = self.op.inputs.iter().find(|port| port.name == name).map_or(Role::Elements, |port| port.role);
            self.hold(pass, id, &format!("gradient of {name}"), role, path)?;
        }
        Ok(())
    }

    /// Adds a tensor to those that are compared, with the array in the file at `path`.
    fn hold(&self, pass: &mut Pass, id: TensorId, name: &str, role: Role, path: &Path) -> Result<(), Problem> {
        let graph = &mut pass.tape.graph;
        let ty = graph.ty(id).clone();
        let expected = FileArray::read(self.folder, path, role)?;
        expected.expect_shape(&ty.shape, role, self.file.layout)?;
        // A tensor that is in the store already has its name there: an optimiser's parameter, an upstream gradient.
        let fresh = graph.tensors().get(id.index()).is_some_and(|info| info.class == Class::Temporary);
        let stored = if fresh {
            let stored = format!("{name} {ty}");
            graph.keep(id, &stored)?;
            stored
        } else {
            graph.tensors().get(id.index()).map(|info| info.name.clone()).unwrap_or_default()
        };
        pass.compared.push(Compared { expected, role, ty, stored, fresh });
        Ok(())
    }
}

impl Pass {
    /// The compared tensors as the `f64` reference has them.
    fn run_reference(&self) -> Result<Vec<Array>> {
        let plan = Plan::new(&self.tape.graph, PlanOptions { target: None, fuse: false, variant: None })?;
        let mut oracle = Oracle::new();
        for (name, values) in self.tape.values() {
            oracle.write(name, values.clone());
        }
        oracle.run(&plan)?;
        self.compared.iter().map(|compared| oracle.read(&compared.stored).cloned()).collect()
    }

    /// The compared tensors as the session's device has them, filled with NaN before.
    fn run_on(&self, session: &mut Session) -> Result<Vec<Array>> {
        let program = session.record(&self.tape.graph)?;
        let types = self.tape.graph.tensors();
        for (name, values) in self.tape.values() {
            let info = types.iter().find(|info| info.class.is_persistent() && info.name == *name);
            // What nothing reads, the plan has dropped.
            if let Some(info) = info.filter(|_| session.contains(name)) {
                session.write_words(name, &values.to_words(&info.ty))?;
            }
        }
        for compared in self.compared.iter().filter(|compared| compared.fresh) {
            session.write_words(&compared.stored, &vec![f32::NAN.to_bits(); compared.ty.words()])?;
        }
        session.run(program, 1)?;
        self.compared.iter().map(|compared| session.read_array(&compared.stored)).collect()
    }

    /// Compares what a backend gave.
    fn outcome(&self, got: Result<Vec<Array>>, case: &CaseFile) -> Outcome {
        let got = match got {
            Ok(got) => got,
            Err(error) => return Problem::from(error).into(),
        };
        let (mut worst, mut problem) = (0.0_f64, None);
        for (compared, array) in self.compared.iter().zip(&got) {
            match compared.against(array, case) {
                Ok((ratio, None)) => worst = worst.max(ratio),
                Ok((ratio, Some(failure))) => {
                    worst = worst.max(ratio);
                    problem.get_or_insert(failure);
                }
                Err(problem) => return problem.into(),
            }
        }
        match problem {
            Some(problem) => Outcome::Failed { worst: Some(worst), problem },
            None => Outcome::Passed { worst },
        }
    }
}

impl Compared {
    /// Largest error relative to what is allowed, and the first wrong element, in the file's order of axes.
    fn against(&self, got: &Array, case: &CaseFile) -> Result<(f64, Option<String>), Problem> {
        let reals: Vec<f64> = match got {
            Array::F64(values) => values.clone(),
            Array::U32(words) => words.iter().map(|&word| f64::from(word)).collect(),
            Array::U8(bytes) => bytes.iter().map(|&byte| f64::from(byte)).collect(),
        };
        if reals.len() != self.ty.shape.len() {
            return Err(Problem::Wrong(format!("{}: {} elements for a {}", self.expected.file, reals.len(), self.ty)));
        }
        let got = self.expected.theirs(&reals, &self.ty.shape, self.role, case.layout)?;
        let wanted = self.expected.values.clone();
        let (rtol, atol) = if self.ty.dtype == DType::F32 { (case.rtol, case.atol) } else { (0.0, 0.0) };
        let found = compare(&Array::F64(wanted), &Array::F64(got), Tolerance::Close { rtol, atol }, None);
        let problem = found.failure.map(|failure| match found.mismatch {
            Some(m) => self.wrong_element(m.index, m.expected, m.got, m.allowed),
            None => format!("{}: {failure}", self.expected.file),
        });
        Ok((found.ratio, problem))
    }

    fn wrong_element(&self, element: usize, wanted: f64, got: f64, allowed: f64) -> String {
        let (file, place) = (&self.expected.file, self.expected.shape.coordinates(element));
        let error = (wanted - got).abs();
        format!(
            "{file}: element {place:?}: wanted {wanted:e}, got {got:e}, off by {error:e} where {allowed:e} is allowed"
        )
    }
}

/// That the op has an array of every name.
fn expect_known(
    op: &str,
    kind: &str,
    ports: &[Port],
    names: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<(), Problem> {
    let unknown = names.into_iter().find(|name| !ports.iter().any(|port| port.name == name.as_ref()));
    let Some(unknown) = unknown else { return Ok(()) };
    let known: Vec<&str> = ports.iter().map(|port| port.name).collect();
    Err(Problem::Wrong(format!("{op} has no {kind} `{}`, only {}", unknown.as_ref(), known.join(", "))))
}
