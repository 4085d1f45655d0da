//! A lone kernel's results held against expected arrays.

use super::binding::parse_place;
use super::lone::{KernelBench, LoneKernel, Output};
use crate::data::npy;
use crate::error::{Error, Result};
use crate::kernel::Tolerance;
use crate::tensor::Array;
use crate::validate::compare;
use serde::Serialize;
use std::path::PathBuf;
use std::str::FromStr;

/// A file with what a kernel should leave in a buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Group and binding; may be left out where the kernel writes one buffer only.
    pub at: Option<[u32; 2]>,
    /// A `.npy` file with as many numbers as the buffer.
    pub path: PathBuf,
}

impl FromStr for Expected {
    type Err = Error;

    /// From `G:B=FILE.npy`, `B=FILE.npy` of group 0, or `FILE.npy`.
    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::setting("--check", "wanted G:B=FILE.npy or FILE.npy"));
        }
        let placed = text.split_once('=').and_then(|(place, path)| Some((parse_place(place)?, path)));
        Ok(match placed {
            Some((at, path)) => Self { at: Some(at), path: PathBuf::from(path) },
            None => Self { at: None, path: PathBuf::from(text) },
        })
    }
}

/// One buffer compared.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Checked {
    /// `GROUP:BINDING`.
    pub binding: String,
    /// The file with the expected numbers.
    pub file: PathBuf,
    /// Elements compared.
    pub elements: usize,
    /// Elements further off than they may be.
    pub wrong: usize,
    /// Error of the element that comes nearest to what it is allowed, or furthest past it.
    pub worst: f64,
    /// The first wrong element.
    pub first: Option<WrongElement>,
    /// What failed, in one line, if anything did.
    pub failure: Option<String>,
}

/// An element that is further off than it may be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct WrongElement {
    /// Position, row-major.
    pub index: usize,
    /// What the file has.
    pub expected: f64,
    /// What the kernel wrote.
    pub got: f64,
}

impl KernelBench {
    /// Runs a kernel once on fresh data and compares what it wrote.
    ///
    /// # Errors
    /// As [`KernelBench::profile`]; a file that cannot be read, or a buffer that the kernel does not write.
    pub fn check(&mut self, kernel: &LoneKernel, expected: &[Expected], tolerance: Tolerance) -> Result<Vec<Checked>> {
        // Files first: a kernel may run for long.
        let files = expected.iter().map(|of| Ok((of, npy::read_numbers(&of.path)?.values)));
        let files = files.collect::<Result<Vec<_>>>()?;
        let outputs = self.run(kernel)?;
        files.into_iter().map(|(of, values)| check_one(kernel, of, values, &outputs, tolerance)).collect()
    }
}

fn check_one(
    kernel: &LoneKernel,
    expected: &Expected,
    values: Vec<f64>,
    outputs: &[Output],
    tolerance: Tolerance,
) -> Result<Checked> {
    let name = |at: [u32; 2]| format!("{}:{}", at[0], at[1]);
    let written = || outputs.iter().map(|output| name(output.at)).collect::<Vec<_>>().join(", ");
    let wrong = |problem: String| Error::setting("--check", format!("{}: {problem}", kernel.name));
    let output = match (expected.at, outputs) {
        (_, []) => return Err(wrong("writes no buffer".to_owned())),
        (None, [only]) => only,
        (None, _) => {
            let path = expected.path.display();
            return Err(wrong(format!("writes several buffers, {}: say which, as G:B={path}", written())));
        }
        (Some(at), _) => {
            let found = outputs.iter().find(|output| output.at == at);
            found.ok_or_else(|| wrong(format!("does not write {}; it writes {}", name(at), written())))?
        }
    };
    let compared = compare(&Array::F64(values), &Array::F64(output.values.clone()), tolerance, None);
    let first = compared.mismatch.map(|m| WrongElement { index: m.index, expected: m.expected, got: m.got });
    Ok(Checked {
        binding: name(output.at),
        file: expected.path.clone(),
        elements: compared.elements,
        wrong: compared.wrong,
        worst: compared.worst,
        first,
        failure: compared.failure,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_with_and_without_a_place() {
        let expected = |at, path: &str| Expected { at, path: path.into() };
        assert_eq!("out.npy".parse::<Expected>().unwrap(), expected(None, "out.npy"));
        assert_eq!("2=a=b.npy".parse::<Expected>().unwrap(), expected(Some([0, 2]), "a=b.npy"));
        assert_eq!("1:2=out.npy".parse::<Expected>().unwrap(), expected(Some([1, 2]), "out.npy"));
        assert_eq!("a=b.npy".parse::<Expected>().unwrap(), expected(None, "a=b.npy"));
        assert!("".parse::<Expected>().is_err());
    }

    #[test]
    fn the_buffer_must_be_one_that_is_written() {
        let kernel = LoneKernel::new("k.wgsl", "");
        let output = |binding| Output { at: [0, binding], values: vec![1.0, 2.0] };
        let check = |at, outputs: &[Output], values: &[f64]| {
            let expected = Expected { at, path: "out.npy".into() };
            check_one(&kernel, &expected, values.to_vec(), outputs, Tolerance::Close { rtol: 0.0, atol: 0.1 })
        };
        assert_eq!(check(None, &[output(1)], &[1.05, 2.0]).unwrap().failure, None);
        let wrong = check(None, &[output(1)], &[1.0, 3.0]).unwrap();
        assert_eq!((wrong.wrong, wrong.first), (1, Some(WrongElement { index: 1, expected: 3.0, got: 2.0 })));
        assert!(check(None, &[output(1)], &[1.0]).unwrap().failure.is_some());
        let told = |at, outputs: &[Output]| check(at, outputs, &[1.0, 2.0]).unwrap_err().to_string();
        assert!(told(None, &[]).contains("writes no buffer"));
        assert!(told(None, &[output(1), output(4)]).contains("several buffers, 0:1, 0:4"));
        assert!(told(Some([0, 2]), &[output(1)]).contains("does not write 0:2; it writes 0:1"));
    }
}
