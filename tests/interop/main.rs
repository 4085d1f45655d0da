//! Networks for other frameworks and from them. ONNX models are run by an interpreter of our own; `onnx_check.py`,
//! `torch_check.py` and `keras_check.py` ask the frameworks themselves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod export;
mod imports;
#[expect(unreachable_pub, reason = "messages as prost wants them")]
mod onnx;

use degrain::model::Preset;
use degrain::train::{Array, Data, Weights};
use std::path::Path;

/// Numbers that are the same in each run, between -1 and 1.
struct Numbers(u64);

impl Numbers {
    /// Knuth's generator (MMIX).
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// A preset of these tables.
fn preset(data: &str, model: &str, loss: &str) -> Preset {
    let text = format!(
        "name = \"tiny\"\ndescription = \"for tests\"\n[data]\n{data}\n[model]\n{model}\n[train]\nloss = \"{loss}\"\n\
         optimizer = \"adam\"\nlr = 0.01\nepochs = 1\nbatch = 4\n"
    );
    Preset::from_toml(&text, Path::new("tiny.toml")).unwrap()
}

/// Weights of which no bias, factor or statistic is as a layer begins with it.
fn weights(preset: &Preset) -> Weights {
    let mut weights = Weights::initial(preset).unwrap();
    let mut numbers = Numbers(1);
    for (name, Array { shape, data }) in &mut weights.tensors {
        let Data::F32(values) = data else { unreachable!() };
        if shape.len() == 1 {
            let is_factor = name.ends_with(".weight") || name.ends_with(".running_var");
            values.iter_mut().for_each(|v| *v = numbers.next() * 0.5 + if is_factor { 1.0 } else { 0.0 });
        }
    }
    weights
}
