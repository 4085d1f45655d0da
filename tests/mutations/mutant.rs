//! An op whose shaders are broken on purpose.

use crate::altered::Alter;
use degrain::graph::{Op, Signature};
use degrain::kernel::{Shader, Target, Variant};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Files of a shader, joined in order.
type Files = &'static [&'static str];

/// One text of a shader file in place of another. It lives as long as the test: shaders hold static texts.
#[derive(Debug)]
pub(crate) struct Mutation {
    original: String,
    broken: &'static str,
    replaced: Mutex<HashMap<Files, Files>>,
}

impl Mutation {
    /// `broken` wherever a shader is made of `original`.
    pub(crate) fn new(original: String, broken: String) -> Self {
        Self { original, broken: broken.leak(), replaced: Mutex::default() }
    }

    /// Whether a kernel is made of the file that is broken.
    fn concerns(&self, variant: &Variant) -> bool {
        variant.launches.iter().any(|launch| launch.shader.files.contains(&self.original.as_str()))
    }

    fn apply(&self, shader: Shader) -> Shader {
        let mut replaced = self.replaced.lock().unwrap();
        let files = replaced.entry(shader.files).or_insert_with(|| {
            let swap = |&file: &&'static str| if file == self.original { self.broken } else { file };
            shader.files.iter().map(swap).collect::<Vec<_>>().leak()
        });
        Shader { files, ..shader }
    }
}

/// Of an op only the kernels made of the broken file are left.
impl Alter for Arc<Mutation> {
    fn variants(&self, op: &dyn Op, signature: &Signature<'_>, target: &Target) -> Vec<Variant> {
        let mut variants = op.variants(signature, target);
        variants.retain(|variant| self.concerns(variant));
        for launch in variants.iter_mut().flat_map(|variant| &mut variant.launches) {
            launch.shader = self.apply(launch.shader);
        }
        variants
    }
}
