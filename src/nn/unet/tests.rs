use burn::module::Param;
use burn::tensor::{Device, TensorData};

use super::*;
use crate::nn::Precision;
use crate::random::Stream;

fn init() -> Init {
    Init::new(Stream::new(1), &Device::flex(), Precision::F32)
}

fn residual() -> UnetConfig {
    UnetConfig {
        encoder: Encoder::Residual,
        blocks: vec![1, 2, 1],
        decoder_convs: vec![1, 1],
        ..UnetConfig::plain(3, vec![4, 6, 6], vec![[1, 1], [2, 2], [2, 1]])
    }
}

fn names(config: &UnetConfig) -> Vec<String> {
    config.init(&mut init()).published_names().into_iter().map(|(_, name)| name).collect()
}

fn noise(shape: [usize; 4]) -> Tensor<4> {
    let values = Stream::new(2).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

#[test]
fn heads_come_finest_first_and_the_finest_is_what_prediction_uses() {
    for config in [UnetConfig::plain(3, vec![4, 6, 6], vec![[1, 1], [2, 2], [2, 1]]), residual()] {
        assert_eq!(config.shrinkage(), [4, 2]);
        assert_eq!(config.head_strides(), [[1, 1], [2, 2]]);
        let network = config.init(&mut init());
        let x = noise([2, 1, 16, 12]);
        let heads = network.forward_all(x.clone());
        assert_eq!(heads.iter().map(Tensor::dims).collect::<Vec<_>>(), [[2, 3, 16, 12], [2, 3, 8, 6]]);
        assert_eq!(network.forward(x).into_data(), heads[0].clone().into_data());
    }
}

#[test]
fn parameters_have_the_names_of_nnunet() {
    let plain = names(&UnetConfig::plain(3, vec![4, 6], vec![[1, 1], [2, 2]]));
    assert_eq!(plain.len(), 4 * 4 + 2 + 2 * 4 + 2);
    for name in [
        "encoder.stages.1.0.convs.0.conv.bias",
        "encoder.stages.0.0.convs.1.norm.weight",
        "decoder.transpconvs.0.weight",
        "decoder.stages.0.convs.1.norm.bias",
        "decoder.seg_layers.0.bias",
    ] {
        assert!(plain.iter().any(|known| known == name), "{name} is missing");
    }
    let residual = names(&residual());
    for name in [
        "encoder.stem.convs.0.conv.weight",
        "encoder.stages.1.blocks.1.conv2.norm.bias",
        // After the pooling.
        "encoder.stages.1.blocks.0.skip.1.conv.weight",
    ] {
        assert!(residual.iter().any(|known| known == name), "{name} is missing");
    }
    // As many channels in as out: only the pooling, which has no parameters.
    assert!(!residual.iter().any(|name| name.starts_with("encoder.stages.2.blocks.0.skip")));
    assert!(!residual.iter().any(|name| name.contains("skip") && name.ends_with("conv.bias")));
}

#[test]
fn the_way_around_a_residual_block_averages() {
    let config = UnetConfig { stem: 1, features: vec![1, 1], ..residual() };
    let config = UnetConfig {
        strides: vec![[1, 1], [2, 2]],
        kernels: vec![[3, 3]; 2],
        blocks: vec![1, 1],
        decoder_convs: vec![1],
        ..config
    };
    let mut block = config.stage(&mut init(), 1, 1).blocks.remove(0);
    // The inner way ends in nothing.
    block.conv2.norm.weight = Param::from_data([0.0], &Device::flex());
    let x = Tensor::<4>::from_data([[[[1.0, 3.0, -8.0, 0.0], [5.0, 7.0, 0.0, -4.0]]]], &Device::flex());
    let y: Vec<f32> = block.forward(x, Activation::LeakyRelu(0.01)).into_data().try_into_vec().unwrap();
    assert_eq!(y, [4.0, -0.03]);
}

#[test]
fn shapes_that_cannot_be_built_are_explained() {
    let fault = |change: fn(&mut UnetConfig)| {
        let mut config = residual();
        change(&mut config);
        config.fault().unwrap()
    };
    assert_eq!(residual().fault(), None);
    assert!(fault(|c| c.features.truncate(1)).contains("at least two stages"));
    assert!(fault(|c| c.strides.truncate(2)).contains("2, 3, 3 and 2"));
    assert!(fault(|c| c.kernels[1] = [3, 2]).contains("even side 2"));
    assert!(fault(|c| c.classes = 1).contains("at least two"));
}
