//! `degrain attribute`: what pictures with a label have in code space, added to a picture.

use super::console::Console;
use super::gallery::{self, Form, Scene};
use super::network::{DataFlags, Network, Picture};
use super::run::RunFlags;
use clap::Args;
use degrain::data::{Dataset, Labels};
use degrain::latent::AttributeVector;
use degrain::report::Cell;
use degrain::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

/// Flags of `degrain attribute`.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    data: DataFlags,
    /// The label whose pictures have the attribute; the others do not [default: that of --attribute]
    #[arg(long, value_name = "L")]
    label: Option<String>,
    /// Pictures to change: files, or '#INDEX' of the data in quotes, counted from 0
    #[arg(long = "picture", value_name = "PICTURE", required = true, num_args = 1..)]
    pictures: Vec<Picture>,
    /// How much of the attribute to add, 1 being the difference of the means; a column each
    #[arg(long, value_name = "S,…", default_value = "-1,0,1,2", value_delimiter = ',', allow_hyphen_values = true)]
    strengths: Vec<f64>,
    /// Sheet S.png, a folder for PNG files, or all as one out.npy, scaled as in training
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

pub(super) fn run(flags: &Flags, device: &str, console: &Console) -> Result<()> {
    let form = Form::still(&flags.output)?;
    if let Some(strength) = flags.strengths.iter().find(|strength| !strength.is_finite()) {
        return Err(Error::setting("--strengths", format!("cannot be {strength}: name numbers such as -1,0,1,2")));
    }
    let mut network = Network::open(&flags.run, device, console)?;
    let data = flags.data.load(&mut network.preset, console)?;
    let (label, has) = chosen(flags, &data)?;
    let originals: Vec<Vec<f32>> = flags
        .pictures
        .iter()
        .map(|picture| picture.read(&network.preset, Some(&data), console))
        .collect::<Result<_>>()?;
    let vector = AttributeVector::new(&network.codes(&data, console)?, &has)?;
    let codes = network.inference.encode(&originals.concat())?;
    let changed: Vec<f32> = codes
        .chunks_exact(network.inference.code_len())
        .flat_map(|code| flags.strengths.iter().flat_map(|&strength| vector.add(code, strength as f32)))
        .collect();
    let pictures = network.inference.decode(&changed)?;
    let outputs = write(flags, form, &Scene::of(&network.preset), &originals, pictures)?;
    let object = json!({
        "output": flags.output.display().to_string(),
        "outputs": outputs,
        "label": label,
        "with": vector.with(),
        "without": vector.without(),
        "strengths": flags.strengths,
        "pictures": flags.pictures.iter().map(Picture::to_string).collect::<Vec<_>>(),
    });
    let line = gallery::line(flags.pictures.len() * flags.strengths.len(), &flags.output);
    let how = format!("mean code of {} with {label:?} less that of {} without", vector.with(), vector.without());
    console.result(&object, format!("{line}\n{how}"))
}

/// The label, and which pictures have it.
fn chosen(flags: &Flags, data: &Dataset) -> Result<(String, Vec<bool>)> {
    let Some(labels) = &data.labels else {
        let problem = format!("the pictures of {} have no labels: name a file by --data and --labels", data.origin);
        return Err(Error::setting("--label", problem));
    };
    // Labels of an attribute are `not NAME` and `NAME`.
    let of_attribute = flags.data.attribute.as_ref().and_then(|_| labels.names.get(1));
    let Some(label) = flags.label.as_ref().or(of_attribute) else {
        return Err(Error::setting("--label", format!("name the one to add: there are {}", listed(labels))));
    };
    let Some(id) = labels.names.iter().position(|name| name == label) else {
        return Err(Error::setting("--label", format!("there is no {label:?}: there are {}", listed(labels))));
    };
    let has: Vec<bool> = labels.ids.iter().map(|&of| of as usize == id).collect();
    match has.iter().filter(|&&has| has).count() {
        0 => Err(Error::setting("--label", format!("no picture has {label:?}"))),
        with if with == has.len() => Err(Error::setting("--label", format!("every picture has {label:?}"))),
        _ => Ok((label.clone(), has)),
    }
}

fn listed(labels: &Labels) -> String {
    super::data::listed(labels.names.iter().cloned())
}

/// Writes what `-o` asks for; returns the files' names.
fn write(flags: &Flags, form: Form, scene: &Scene, originals: &[Vec<f32>], pictures: Vec<f32>) -> Result<Vec<String>> {
    if form == Form::Pictures {
        let name = |at: usize, strength: f64| match flags.pictures.len() {
            1 => format!("strength_{strength}.png"),
            _ => format!("picture-{}/strength_{strength}.png", at + 1),
        };
        let of = |at: usize| flags.strengths.iter().map(move |&strength| name(at, strength));
        let names: Vec<String> = (0..flags.pictures.len()).flat_map(of).collect();
        let read: Vec<PathBuf> = flags.pictures.iter().filter_map(Picture::file).collect();
        return scene.write_pictures(&flags.output, &names, pictures, &read);
    }
    let titles = flags.strengths.iter().map(f64::to_string);
    let titles = ["original".to_owned()].into_iter().chain(titles).collect();
    let mut rows: Vec<(String, Vec<Cell>)> = Vec::new();
    let changed = pictures.chunks_exact(flags.strengths.len() * scene.len());
    for ((picture, original), changed) in flags.pictures.iter().zip(originals).zip(changed) {
        rows.push((gallery::short(picture), scene.cells(&[original.as_slice(), changed].concat())?));
    }
    scene.sheet(titles, rows).write_png(&flags.output)?;
    Ok(vec![flags.output.display().to_string()])
}
