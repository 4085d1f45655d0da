//! Networks whose kernels slide over pictures of any size.

use super::layer::Layer;
use super::preset::Preset;
use super::shapes::text;
use crate::error::{Error, Result};

impl Preset {
    /// Whether every layer slides over its input, so that the same weights serve pictures of other sizes.
    pub fn is_fully_convolutional(&self) -> bool {
        self.fixed_layer().is_none()
    }

    /// A layer that is made for one size of picture.
    fn fixed_layer(&self) -> Option<&Layer> {
        let is_fixed = |layer: &&Layer| match layer {
            Layer::Flatten {} | Layer::Reshape(_) | Layer::Dense(_) | Layer::GaussianCode {} => true,
            Layer::Conv2d(_)
            | Layer::ConvTranspose2d(_)
            | Layer::MaxPool2d(_)
            | Layer::AvgPool2d(_)
            | Layer::Upsample2d(_)
            | Layer::BatchNorm(_)
            | Layer::Dropout(_) => false,
        };
        self.model.encoder.iter().chain(&self.model.decoder).find(is_fixed)
    }

    /// The same fully convolutional network for pictures of another size: its weights are those of this one, and its code
    /// grows with the picture.
    ///
    /// ```
    /// use degrain::model::Preset;
    ///
    /// let preset = Preset::load("denoise-patch")?;
    /// let large = preset.for_size(96, 192)?;
    /// assert_eq!(large.architecture()?.input, [96, 192, 3]);
    /// assert!(large.architecture()?.parameters().eq(preset.architecture()?.parameters()));
    /// assert!(Preset::load("lfw-conv")?.for_size(96, 192).is_err());
    /// # Ok::<(), degrain::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] for a network that has a layer for one size alone, and for a size that its strides do not divide.
    pub fn for_size(&self, height: usize, width: usize) -> Result<Self> {
        if let Some(layer) = self.fixed_layer() {
            let problem = format!(
                "{} takes pictures of {} alone, because of a layer {}: only a fully convolutional network takes others",
                self.name,
                text(&[self.data.height, self.data.width]),
                layer.stem()
            );
            return Err(Error::setting("data.height", problem));
        }
        let mut preset = self.clone();
        (preset.data.height, preset.data.width) = (height, width);
        let pixels = |preset: &Self| preset.data.height.checked_mul(preset.data.width);
        let code = pixels(&preset).and_then(|pixels| pixels.checked_mul(self.model.code));
        preset.model.code = code.zip(pixels(self)).and_then(|(code, pixels)| code.checked_div(pixels)).unwrap_or(0);
        preset.architecture().map_err(|error| {
            let size = text(&[height, width]);
            Error::setting("data.height", format!("{} cannot take pictures of {size}: {error}", self.name))
        })?;
        Ok(preset)
    }
}
