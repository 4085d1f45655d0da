//! A deep autoencoder as a stack of shallow ones, for greedy layer-wise pre-training (Hinton and Salakhutdinov 2006;
//! Bengio et al. 2007; with noise Vincent et al. 2010).
//!
//! Each layer of the encoder that has a kernel is paired with the layer of the decoder that mirrors it. Such a pair is an
//! ordinary preset, so that the ordinary trainer trains it.

use super::layer::{Dense, Layer, Reshape, Units};
use super::preset::{Data, Preset, Train};
use super::settings::{Loss, Noise};
use super::shapes::{Architecture, Parameter, ResolvedLayer, text, volume};
use crate::error::{Error, Result};

/// A layer of the encoder and its mirror in the decoder, as an autoencoder of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What trains it: the pictures for the first stage, the codes of the stage before it for the others.
    pub preset: Preset,
    /// What its weight file holds: the name there, and the tensor of the whole network that it is.
    pub tensors: Vec<(String, Parameter)>,
    /// The encoder's layer with a kernel, `encoder.dense_2`.
    pub encoder: String,
    /// The decoder's, `decoder.dense_2`.
    pub decoder: String,
}

/// Layers that follow each other, one of them with a kernel.
type Piece<'a> = &'a [ResolvedLayer];

impl Preset {
    /// The stages of pre-training, the pictures' first; none where `train.pretrain_epochs` is 0.
    ///
    /// Layers without a kernel stay beside the one before them, but flattening and reshaping go to the one behind, so that
    /// a stage of convolutions sees pictures. The first stage has the loss of the whole network. The others bring back
    /// activations, which have no fixed range: they take the mean squared error. Noise is that of the whole network in
    /// every stage, as in stacked denoising autoencoders; a square needs a picture, so that codes get none. What is
    /// asked of the code (sparsity, a small Jacobian) is asked of the last stage, whose code is the network's. There is no
    /// early stopping, and dropout behind a layer of the decoder is left out: it would drop the output.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the layer that has no mirror, or that cannot be trained alone.
    pub fn stages(&self) -> Result<Vec<Stage>> {
        if self.train.pretrain_epochs == 0 {
            return Ok(Vec::new());
        }
        let architecture = self.architecture()?;
        let pairs = pairs(&architecture)?;
        let count = pairs.len();
        let stage = |(index, (encoder, decoder))| self.stage(index + 1, count, encoder, decoder);
        pairs.into_iter().enumerate().map(stage).collect()
    }

    fn stage(&self, number: usize, count: usize, encoder: Piece<'_>, decoder: Piece<'_>) -> Result<Stage> {
        let mut preset = self.clone();
        preset.name = format!("pretrain-{number}");
        let (of_encoder, of_decoder) = (kernel_name(encoder), kernel_name(decoder));
        preset.description = format!("{of_encoder} and {of_decoder} of {}: stage {number} of {count}", self.name);
        preset.train = self.train.of_stage(number == 1, number == count);
        preset.model.tie = decoder.iter().any(|layer| layer.tied.is_some());
        preset.model.encoder = encoder.iter().map(counted).collect();
        let kernel = kernels(decoder).next().unwrap_or(0);
        let drops_output =
            |(i, layer): &(usize, &ResolvedLayer)| *i > kernel && matches!(layer.layer, Layer::Dropout(_));
        let kept = decoder.iter().enumerate().filter(|item| !drops_output(item));
        preset.model.decoder = kept.map(|(_, layer)| counted(layer)).collect();
        let shape = |layer: Option<&ResolvedLayer>| layer.map(|layer| layer.output.clone()).unwrap_or_default();
        preset.model.code = volume(&shape(encoder.last())).unwrap_or(0);
        match encoder.first().map_or(&[][..], |first| &first.input) {
            _ if number == 1 => {}
            // Codes come as pictures of one row.
            &[values] => {
                preset.data = of_codes(&self.data, [1, 1, values]);
                preset.model.encoder.insert(0, Layer::Flatten {});
                preset.model.decoder.push(Layer::Reshape(Reshape { shape: [1, 1, values] }));
            }
            input => preset.data = of_codes(&self.data, [0, 1, 2].map(|i| input.get(i).copied().unwrap_or(1))),
        }
        let architecture = preset.architecture().map_err(|error| {
            Error::setting(
                &of_encoder,
                format!("cannot be pre-trained with {of_decoder} (train.pretrain_epochs): {error}"),
            )
        })?;
        let names = saved(&architecture.encoder).chain(saved(&architecture.decoder)).map(|p| p.name.clone());
        let tensors = names.zip(saved(encoder).chain(saved(decoder)).cloned()).collect();
        Ok(Stage { preset, tensors, encoder: of_encoder, decoder: of_decoder })
    }
}

impl Train {
    /// The training of one stage.
    fn of_stage(&self, first: bool, last: bool) -> Self {
        let mut train = Self { epochs: self.pretrain_epochs, pretrain_epochs: 0, steps: None, ..self.clone() };
        train.patience = None;
        if !first {
            train.loss = Loss::Mse;
            train.noise = on_codes(train.noise);
            train.noise_validation = train.noise_validation.map(on_codes);
            train.noise_inference = train.noise_inference.map(on_codes);
        }
        if !last {
            (train.sparsity, train.activity_l1, train.contractive) = (0.0, 0.0, 0.0);
        }
        train
    }
}

/// A square needs a picture to lie in.
fn on_codes(noise: Noise) -> Noise {
    if matches!(noise, Noise::Rect { .. }) { Noise::None } else { noise }
}

/// The data of a stage that is trained on codes: they are not read from anywhere.
fn of_codes(pictures: &Data, [height, width, channels]: [usize; 3]) -> Data {
    let mut data = Data { source: Vec::new(), height, width, channels, offset: 0.0, ..pictures.clone() };
    data.forget_choice();
    (data.crop, data.channel_rows, data.obtain) = (None, false, None);
    data
}

/// The encoder cut before each kernel but the first, and the decoder where it has the shapes of those cuts; the pair
/// next to the picture first.
fn pairs(architecture: &Architecture) -> Result<Vec<(Piece<'_>, Piece<'_>)>> {
    let (mut encoder, mut decoder) = (&architecture.encoder[..], &architecture.decoder[..]);
    check_kernels(encoder, decoder)?;
    let mut pairs = Vec::new();
    // From the code outwards: the last piece of the encoder with the first of the decoder.
    while let Some(cut) = last_cut(encoder) {
        let (rest, inner) = encoder.split_at(cut);
        let wanted = inner.first().map_or(&[][..], |layer| &layer.input);
        let found = mirrored_cut(decoder, wanted).ok_or_else(|| {
            let problem = format!(
                "does not mirror {}, whose input is {}: layer-wise pre-training (train.pretrain_epochs) needs a decoder \
                 that passes through the shapes of the encoder",
                kernel_name(inner),
                text(wanted)
            );
            Error::setting(kernel_name(decoder), problem)
        })?;
        let (mirror, outer) = decoder.split_at(found);
        pairs.push((inner, mirror));
        (encoder, decoder) = (rest, outer);
    }
    pairs.push((encoder, decoder));
    pairs.reverse();
    Ok(pairs)
}

/// As many kernels on both sides, and none that has no mirror by its kind.
fn check_kernels(encoder: Piece<'_>, decoder: Piece<'_>) -> Result<()> {
    let unpaired = |layer: &ResolvedLayer, problem: &str| {
        let problem = format!("{problem}: layer-wise pre-training (train.pretrain_epochs) needs mirrored layers");
        Err(Error::setting(layer.full_name(), problem))
    };
    if let Some(heads) = encoder.iter().find(|layer| layer.layer == (Layer::GaussianCode {})) {
        return unpaired(heads, "is random and has two kernels");
    }
    let (in_encoder, in_decoder) = (kernels(encoder).count(), kernels(decoder).count());
    let layer = match in_encoder.cmp(&in_decoder) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => kernels(decoder).nth(in_encoder).and_then(|i| decoder.get(i)),
        std::cmp::Ordering::Greater => kernels(encoder).nth(in_encoder - in_decoder - 1).and_then(|i| encoder.get(i)),
    };
    match layer {
        Some(layer) => {
            unpaired(layer, &format!("has no mirror, as {in_encoder} layers encode and {in_decoder} decode"))
        }
        None if in_encoder == 0 => Err(Error::setting("train.pretrain_epochs", "there is no layer to pre-train")),
        None => Ok(()),
    }
}

/// Where the last layer with a kernel begins, together with the flattening and reshaping before it; none where it is
/// the only one.
fn last_cut(encoder: Piece<'_>) -> Option<usize> {
    let kernels: Vec<usize> = kernels(encoder).collect();
    let [.., before, last] = kernels[..] else { return None };
    let is_shape = |layer: &&ResolvedLayer| matches!(layer.layer, Layer::Flatten {} | Layer::Reshape(_));
    let shapes = encoder.get(before + 1..last)?.iter().rev().take_while(is_shape).count();
    Some(last - shapes)
}

/// The last place between the first two kernels where the decoder has this shape.
fn mirrored_cut(decoder: Piece<'_>, shape: &[usize]) -> Option<usize> {
    let mut kernels = kernels(decoder);
    let (first, second) = (kernels.next()?, kernels.next()?);
    (first + 1..=second).rev().find(|&cut| decoder.get(cut).is_some_and(|layer| layer.input == shape))
}

/// Places of the layers that have a kernel.
fn kernels(layers: Piece<'_>) -> impl Iterator<Item = usize> + '_ {
    let has_kernel = |layer: &ResolvedLayer| layer.tied.is_some() || layer.parameters.iter().any(|p| p.fans.is_some());
    layers.iter().enumerate().filter(move |(_, layer)| has_kernel(layer)).map(|(place, _)| place)
}

fn kernel_name(piece: Piece<'_>) -> String {
    let layer = kernels(piece).next().and_then(|place| piece.get(place));
    layer.map(ResolvedLayer::full_name).unwrap_or_default()
}

/// What a weight file holds of these layers, layer by layer.
fn saved(layers: Piece<'_>) -> impl Iterator<Item = &Parameter> {
    layers.iter().flat_map(|layer| layer.parameters.iter().chain(&layer.statistics))
}

/// The layer with its own number of units: the code of a stage is another than the network's.
fn counted(resolved: &ResolvedLayer) -> Layer {
    match (&resolved.layer, &resolved.output[..]) {
        (Layer::Dense(dense), &[units]) => Layer::Dense(Dense { units: Units::Count(units), ..dense.clone() }),
        (layer, _) => layer.clone(),
    }
}

#[cfg(test)]
#[path = "stages_tests.rs"]
mod tests;
