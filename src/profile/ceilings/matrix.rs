//! The peak of matrix units, on a device opened for it alone: the feature is experimental in wgpu, and nothing else here
//! depends on it.

use super::{Meter, shortest_replay};
use crate::error::Result;
use crate::graph::Graph;
use crate::kernel::{Constant, Shader};
use crate::session::Session;
use crate::tensor::{Class, TensorType};

const ROUNDS: u32 = 256;
/// Two halves of 1/16.
const FACTOR: u32 = 0x2C00_2C00;

const MATRIX_8: Shader = shader(&[
    "enable f16;\nenable wgpu_cooperative_matrix;\nalias Left = coop_mat8x8<f16, A>;\nalias Right = coop_mat8x8<f16, B>;\n\
     alias Sum = coop_mat8x8<f32, C>;",
    include_str!("matrix.wgsl"),
]);
const MATRIX_16: Shader = shader(&[
    "enable f16;\nenable wgpu_cooperative_matrix;\nalias Left = coop_mat16x16<f16, A>;\nalias Right = coop_mat16x16<f16, B>;\n\
     alias Sum = coop_mat16x16<f32, C>;",
    include_str!("matrix.wgsl"),
]);

const fn shader(files: &'static [&'static str]) -> Shader {
    Shader { name: "matrix", files }
}

/// 10^9 operations per second in products of half-precision matrices with single-precision sums; none where the device has
/// no such units, where they cannot be opened, or where what they compute is wrong.
pub(super) fn gflops(session: &Session) -> Option<f64> {
    let mut session = session.with_matrix_units()?;
    let size = session.target()?.matrix_units?.size;
    let shader = match size {
        8 => MATRIX_8,
        16 => MATRIX_16,
        _ => return None,
    };
    // A refusal is an answer: this device has none that can be used.
    [64, 512, 4096, 32_768]
        .into_iter()
        .map_while(|groups| rate(&mut session, shader, size, groups).ok()?)
        .reduce(f64::max)
}

/// The rate with this many workgroups; none where the result is wrong.
fn rate(session: &mut Session, shader: Shader, size: u32, groups: u32) -> Result<Option<f64>> {
    session.clear()?;
    let elements = (size * size) as usize;
    let sums = TensorType::f32([groups as usize * 4 * elements]);
    let meter = Meter {
        shader,
        constants: vec![
            ("ROUNDS", Constant::U32(ROUNDS)),
            ("ELEMENTS", Constant::U32(size * size)),
            ("SIZE", Constant::U32(size)),
        ],
        parameters: Vec::new(),
        output: sums,
        workgroups: [groups, 1, 1],
    };
    let mut graph = Graph::new();
    let factor = graph.persistent(Class::Input, "peaks.factor", TensorType::u32([elements / 2]))?;
    let result = graph.apply_one(meter, &[factor])?;
    graph.keep(result, "peaks.sums")?;
    let program = session.record(&graph)?;
    session.write_words("peaks.factor", &vec![FACTOR; elements / 2])?;
    session.run(program, 1)?;
    // The first matrix of each workgroup is where the next replay begins; the others were written by this one alone.
    let expected = (ROUNDS * size) as f32 / 256.0;
    if session.read("peaks.sums")?.iter().any(|&sum| sum != expected) {
        return Ok(None);
    }
    let ns = shortest_replay(session, program)?;
    let products = f64::from(groups) * 4.0 * f64::from(ROUNDS);
    Ok(Some(products * 2.0 * f64::from(size).powi(3) / ns))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::gpu::reflect;

    #[test]
    fn the_kernels_are_valid() {
        for shader in [MATRIX_8, MATRIX_16] {
            let layout = reflect(shader, &shader.files.join("\n")).unwrap();
            assert_eq!(layout.storage_written, [false, true]);
        }
    }

    #[test]
    fn the_executor_has_none() {
        assert_eq!(gflops(&Session::cpu()), None);
    }
}
