//! The published names of the generator's parameters.

use super::DiffusiveGenerator;
use crate::nn::published::{Parameter, Published, parameters};
use crate::nn::resample::Resampling;

impl Published for DiffusiveGenerator {
    /// The published code keeps its layers in one list, `all_modules`; a layer's number is its place in the order of
    /// the fields above. The mapping network stands apart: `z_transform` with a linear map at every odd place.
    fn published_names(&self) -> Vec<(Parameter, String)> {
        let mut units: Vec<String> = Vec::new();
        parameters(self)
            .into_iter()
            .map(|parameter| {
                if let Some(rest) = parameter.path.strip_prefix("mapping.") {
                    let (layer, field) = rest.split_once('.').expect("a parameter stands in a layer");
                    let layer: usize = layer.parse().expect("the mapping is a list");
                    let name = format!("z_transform.{}.{field}", 2 * layer + 1);
                    return (parameter, name);
                }
                let (unit, inside) = split_at_unit(&parameter);
                if units.last() != Some(&unit) {
                    units.push(unit);
                }
                let name = match parameter.path.rsplit_once(".pyramid.") {
                    Some((_, leaf)) if self.resampling == Resampling::Fir => format!("Conv2d_0.{leaf}"),
                    Some((_, leaf)) => format!("Conv_0.{leaf}"),
                    None => name_inside(&inside),
                };
                let name = format!("all_modules.{}.{name}", units.len() - 1);
                (parameter, name)
            })
            .collect()
    }
}

/// The path of the numbered layer that holds a parameter, and the parameter's path in it.
fn split_at_unit(parameter: &Parameter) -> (String, String) {
    const UNITS: [&str; 6] = ["ResidualBlock", "Attention", "Conv", "Linear", "GroupNorm", "TimeFrequencies"];
    let depth = parameter
        .containers
        .iter()
        .position(|container| UNITS.contains(&container.as_str()))
        .expect("every parameter of the generator stands in a layer");
    let parts: Vec<&str> = parameter.path.split('.').collect();
    (parts[..depth].join("."), format!("{}.{}", parameter.containers[depth], parts[depth..].join(".")))
}

/// From "Layer.field…" of ours to the name inside the published layer.
fn name_inside(path: &str) -> String {
    let (layer, rest) = path.split_once('.').expect("a layer has fields");
    let (field, leaf) = rest.split_once('.').unwrap_or(("", rest));
    let nin = |place: usize| format!("NIN_{place}.{}", if leaf == "weight" { "W" } else { "b" });
    match (layer, field) {
        ("TimeFrequencies", _) => "W".into(),
        ("ResidualBlock", "norm_in") => format!("GroupNorm_0.{leaf}"),
        ("ResidualBlock", "norm_out") => format!("GroupNorm_1.{leaf}"),
        ("ResidualBlock", "conv_in") => format!("Conv_0.{leaf}"),
        ("ResidualBlock", "conv_out") => format!("Conv_1.{leaf}"),
        ("ResidualBlock", "skip") => format!("Conv_2.{leaf}"),
        ("ResidualBlock", "time") => format!("Dense_0.{leaf}"),
        ("Attention", "norm") => format!("GroupNorm_0.{leaf}"),
        ("Attention", "query") => nin(0),
        ("Attention", "key") => nin(1),
        ("Attention", "value") => nin(2),
        ("Attention", "project") => nin(3),
        _ => leaf.into(),
    }
}
