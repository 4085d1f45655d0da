//! The layer table: as text the way Keras prints it, and as data for `--json`.

use super::layer::Layer;
use super::preset::Preset;
use super::shapes::{Architecture, ResolvedLayer, Side};
use crate::error::Result;
use serde::Serialize;
use std::fmt;

/// Layers, parameters and FLOPs of a preset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the preset.
    pub preset: String,
    /// Height, width and channels of a picture.
    pub input: [usize; 3],
    /// Values in a code.
    pub code: usize,
    /// Learnt values of the encoder, without those of batch normalisation.
    pub encoder_params: usize,
    /// Learnt values of the decoder, without those of batch normalisation; a tied kernel counts for the encoder.
    pub decoder_params: usize,
    /// Both together.
    pub total_params: usize,
    /// Learnt values of batch normalisation, which come on top.
    #[serde(skip_serializing_if = "is_zero")]
    pub batch_norm_params: usize,
    /// FLOPs of the forward pass for one picture, 2 per multiply-add.
    pub forward_flops_per_image: u64,
    /// FLOPs of the forward and backward pass for one picture.
    pub training_flops_per_image: u64,
    /// Pictures in a training batch.
    pub batch: usize,
    /// Bytes that a training step holds on the device at this batch size, where a plan was made to know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_bytes: Option<u64>,
    /// One entry per layer, the encoder's first.
    pub layers: Vec<LayerRow>,
}

/// One layer of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerRow {
    /// The half to which it belongs.
    pub side: Side,
    /// `conv2d_1`.
    pub name: String,
    /// Keras's name of the type, `Conv2D`.
    pub kind: &'static str,
    /// `linear`, `relu`, …; `null` for layers without one.
    pub activation: Option<String>,
    /// Shape of the output for one picture.
    pub output: Vec<usize>,
    /// Learnt values.
    pub params: usize,
    /// FLOPs of its forward pass for one picture.
    pub flops: u64,
}

impl Summary {
    /// The summary of `preset`.
    ///
    /// # Errors
    /// As [`Architecture::resolve`].
    pub fn of(preset: &Preset) -> Result<Self> {
        let architecture = preset.architecture()?;
        let is_norm = |layer: &&ResolvedLayer| matches!(layer.layer, Layer::BatchNorm(_));
        let params = |layers: &[ResolvedLayer]| {
            layers.iter().filter(|layer| !is_norm(layer)).map(ResolvedLayer::parameter_count).sum::<usize>()
        };
        let (encoder_params, decoder_params) = (params(&architecture.encoder), params(&architecture.decoder));
        Ok(Self {
            preset: preset.name.clone(),
            input: architecture.input,
            code: architecture.code,
            encoder_params,
            decoder_params,
            total_params: encoder_params + decoder_params,
            batch_norm_params: architecture.layers().filter(is_norm).map(ResolvedLayer::parameter_count).sum(),
            forward_flops_per_image: architecture.forward_flops(),
            training_flops_per_image: architecture.training_flops(),
            batch: preset.train.batch,
            step_bytes: None,
            layers: rows(&architecture),
        })
    }
}

fn rows(architecture: &Architecture) -> Vec<LayerRow> {
    let row = |layer: &ResolvedLayer| LayerRow {
        side: layer.side,
        name: layer.name.clone(),
        kind: layer.layer.keras_type(),
        activation: layer.layer.activation().map(|activation| activation.to_string()),
        output: layer.output.clone(),
        params: layer.parameter_count(),
        flops: layer.flops,
    };
    architecture.layers().map(row).collect()
}

impl LayerRow {
    fn title(&self) -> String {
        match self.activation.as_deref() {
            None | Some("linear") => format!("{} ({})", self.name, self.kind),
            Some(activation) => format!("{} ({}, {activation})", self.name, self.kind),
        }
    }

    fn output_text(&self) -> String {
        self.output.iter().fold("(None".to_owned(), |text, size| format!("{text}, {size}")) + ")"
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width, channels] = self.input;
        writeln!(f, "Model {}: pictures of {height}x{width}x{channels}, code of {}", self.preset, self.code)?;
        let titles: Vec<String> = self.layers.iter().map(LayerRow::title).collect();
        let name_width = titles.iter().map(String::len).max().unwrap_or(0).max(28);
        let line = "-".repeat(name_width + 2 + 22 + 12 + 12);
        for (side, params) in [(Side::Encoder, self.encoder_params), (Side::Decoder, self.decoder_params)] {
            writeln!(f, "\n{side}\n{line}")?;
            writeln!(f, "{:<name_width$}  {:<22}{:>12}{:>12}", "Layer (type)", "Output Shape", "Param #", "MFLOP")?;
            writeln!(f, "{line}")?;
            for (row, title) in self.layers.iter().zip(&titles).filter(|(row, _)| row.side == side) {
                let (output, params) = (row.output_text(), grouped(row.params as u64));
                let mflop = row.flops as f64 / 1e6;
                writeln!(f, "{title:<name_width$}  {output:<22}{params:>12}{mflop:>12.3}")?;
            }
            writeln!(f, "{line}\n{side} params: {}", grouped(params as u64))?;
        }
        writeln!(f, "\nTotal params: {}", grouped(self.total_params as u64))?;
        if self.batch_norm_params > 0 {
            writeln!(f, "Batch normalisation on top: {}", grouped(self.batch_norm_params as u64))?;
        }
        let (forward, training) = (self.forward_flops_per_image as f64, self.training_flops_per_image as f64);
        write!(f, "MFLOP per picture: {:.3} forward, {:.3} training", forward / 1e6, training / 1e6)?;
        if let Some(bytes) = self.step_bytes {
            let mebibytes = bytes as f64 / f64::from(1 << 20);
            write!(f, "\nDevice memory of a training step with batch {}: {mebibytes:.1} MiB", self.batch)?;
        }
        Ok(())
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// 421216 as `421,216`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn text_has_every_layer_and_the_totals() {
        let mut summary = Summary::of(&Preset::load("lfw-conv").unwrap()).unwrap();
        summary.step_bytes = Some(3 << 19);
        let text = summary.to_string();
        let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "conv2d_1 (Conv2D, elu) (None, 32, 32, 32) 896 1.769",
            "dense_1 (Dense) (None, 32) 32,800 0.066",
            "conv2d_transpose_4 (Conv2DTranspose)",
            "encoder params: 421,216",
            "decoder params: 421,955",
            "Total params: 843,171",
            "MFLOP per picture: 37.732 forward, 111.428 training",
            "with batch 32: 1.5 MiB",
        ] {
            assert!(plain.contains(part), "{part}\n{text}");
        }
        let widths: Vec<usize> = text.lines().filter(|line| line.contains("(None")).map(str::len).collect();
        assert!(widths.len() == 16 && widths.iter().all(|width| Some(width) == widths.first()), "{text}");
    }

    #[test]
    fn json_has_the_promised_keys() {
        let summary = Summary::of(&Preset::load("lfw-linear").unwrap()).unwrap();
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["encoder_params"], 98_336);
        assert_eq!(json["decoder_params"], 101_376);
        assert_eq!(json["total_params"], 199_712);
        assert_eq!(json["layers"][1]["name"], "dense_1");
        assert_eq!(json["layers"][1]["output"], serde_json::json!([32]));
        assert_eq!(json["layers"][0]["side"], "encoder");
        assert!(json.get("step_bytes").is_none());
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (421_216, "421,216"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
