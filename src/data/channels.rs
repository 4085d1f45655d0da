//! Each colour channel a sample of its own.

use crate::data::{Dataset, Labels, Values, picture};

/// How the names of the samples tell the channels apart.
const CHANNELS: [&str; 3] = ["red", "green", "blue"];

impl Dataset {
    /// Every channel of every sample as a sample of its own, of one channel: red, green, blue of the first, then of the
    /// second. They share a group, as they are near copies of each other, and have the label and attributes of the sample
    /// that they come from; `a.png` becomes `a.red.png`. Grey samples stay as they are.
    pub fn channel_rows(self) -> Self {
        let [height, width, channels] = self.shape;
        if channels == 1 {
            return self;
        }
        let sources: Vec<usize> = (0..self.len() * channels).map(|row| row / channels).collect();
        let of_source = |values: &[u32]| sources.iter().filter_map(|&i| values.get(i)).copied().collect::<Vec<u32>>();
        let alone: Vec<u32> = (0..self.len() as u32).collect();
        let names = sources.iter().enumerate().filter_map(|(row, &i)| Some((row % channels, self.names.get(i)?)));
        Self {
            shape: [height, width, 1],
            values: match &self.values {
                Values::U8(v) => Values::U8(planes(v, height * width, channels).into()),
                Values::F32(v) => Values::F32(planes(v, height * width, channels).into()),
            },
            names: names.map(|(channel, name)| channel_name(name, channel)).collect(),
            groups: Some(of_source(self.groups.as_deref().unwrap_or(&alone))),
            labels: self.labels.as_ref().map(|l| Labels { names: l.names.clone(), ids: of_source(&l.ids) }),
            attributes: self.attributes.as_ref().map(|a| a.select(&sources)),
            ..self
        }
    }
}

/// (N, pixels, channels) as (N, channels, pixels).
fn planes<T: Copy>(values: &[T], pixels: usize, channels: usize) -> Vec<T> {
    let sample = |sample: &[T]| -> Vec<T> {
        (0..channels).flat_map(|c| sample.iter().skip(c).step_by(channels).copied().collect::<Vec<T>>()).collect()
    };
    values.chunks_exact((pixels * channels).max(1)).flat_map(sample).collect()
}

fn channel_name(name: &str, channel: usize) -> String {
    let colour = CHANNELS.get(channel).map_or_else(|| channel.to_string(), |c| (*c).to_string());
    match name.rsplit_once('.').filter(|_| picture::has_picture_name(name)) {
        Some((stem, extension)) => format!("{stem}.{colour}.{extension}"),
        None => format!("{name}.{colour}"),
    }
}
