use super::*;
use crate::nn::Encoder;
use serde_json::json;

fn golden(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/nnunet/nnUNetTrainer__nnUNetPlans__2d");
    serde_json::from_str(&fs::read_to_string(Path::new(folder).join(name)).unwrap()).unwrap()
}

fn read(plans: &Value, dataset: &Value, configuration: &str) -> Result<NnunetPlans> {
    let dir = tempfile::tempdir().unwrap();
    let [plans_path, dataset_path] = ["plans.json", "dataset.json"].map(|name| dir.path().join(name));
    fs::write(&plans_path, plans.to_string()).unwrap();
    fs::write(&dataset_path, dataset.to_string()).unwrap();
    NnunetPlans::read(&plans_path, &dataset_path, configuration)
}

/// The older form with the network of the golden plans; the newer form has 8, 16, 32, 32 features too.
fn older() -> Value {
    let mut plans = golden("plans.json");
    let settings = plans["configurations"]["2d"].as_object_mut().unwrap();
    settings.remove("architecture");
    let older = json!({
        "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 8, "unet_max_num_features": 32,
        "n_conv_per_stage_encoder": [2, 2, 2, 2], "n_conv_per_stage_decoder": [2, 2, 2], "num_pool_per_axis": [3, 3],
        "pool_op_kernel_sizes": [[1, 1], [2, 2], [2, 2], [2, 2]], "conv_kernel_sizes": [[3, 3], [3, 3], [3, 3], [3, 3]]
    });
    settings.extend(older.as_object().unwrap().clone());
    plans
}

#[test]
fn both_forms_of_plans_describe_the_same_network() {
    let plans = read(&golden("plans.json"), &golden("dataset.json"), "2d").unwrap();
    let strides = vec![[1, 1], [2, 2], [2, 2], [2, 2]];
    assert_eq!(plans.network, UnetConfig::plain(3, vec![8, 16, 32, 32], strides));
    assert_eq!((plans.patch_size, plans.batch_size, plans.spacing), ([96, 96], 2, [1.0, 1.0]));
    assert_eq!((plans.normalisation, plans.within_nonzero), (Normalisation::RescaleTo01, false));
    assert_eq!((plans.classes.join(" "), plans.file_ending.as_str()), ("background myelin axon".into(), ".png"));
    assert_eq!(read(&older(), &golden("dataset.json"), "2d").unwrap(), plans);
}

#[test]
fn a_residual_encoder_has_a_stem_and_blocks_and_one_number_may_stand_for_all() {
    let mut plans = golden("plans.json");
    plans["configurations"]["2d"]["architecture"] = json!({
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": {
            "n_stages": 3, "features_per_stage": [8, 16, 32], "conv_op": "torch.nn.Conv2d", "kernel_sizes": 3,
            "strides": [1, [2, 2], [2, 1]], "n_blocks_per_stage": [1, 3, 4], "n_conv_per_stage_decoder": 1,
            "norm_op": "torch.nn.InstanceNorm2d", "norm_op_kwargs": {"affine": true, "eps": 1e-4},
            "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"negative_slope": 0.2}, "dropout_op_kwargs": {"p": 0.1}
        }
    });
    let expected = UnetConfig {
        encoder: Encoder::Residual,
        blocks: vec![1, 3, 4],
        decoder_convs: vec![1, 1],
        bias: false,
        norm_eps: 1e-4,
        slope: 0.2,
        ..UnetConfig::plain(3, vec![8, 16, 32], vec![[1, 1], [2, 2], [2, 1]])
    };
    assert_eq!(read(&plans, &golden("dataset.json"), "2d").unwrap().network, expected);
}

#[test]
fn a_configuration_inherits_what_it_does_not_say() {
    let mut plans = golden("plans.json");
    plans["configurations"]["small"] = json!({"inherits_from": "2d", "batch_size": 7});
    plans["configurations"]["smaller"] = json!({"inherits_from": "small", "patch_size": [8, 16]});
    let read_as = |plans: &Value, name| read(plans, &golden("dataset.json"), name);
    let smaller = read_as(&plans, "smaller").unwrap();
    assert_eq!((smaller.batch_size, smaller.patch_size), (7, [8, 16]));
    let error = read_as(&plans, "3d_fullres").unwrap_err().to_string();
    assert!(error.contains("no configuration 3d_fullres; it has 2d, small, smaller"), "{error}");
    plans["configurations"]["2d"]["inherits_from"] = json!("small");
    assert!(read_as(&plans, "2d").unwrap_err().to_string().contains("2d inherits from itself"));
}

#[test]
fn the_normalisation_is_that_of_the_scheme() {
    let mut plans = golden("plans.json");
    let mut normalisation = |scheme: &str| {
        plans["configurations"]["2d"]["normalization_schemes"] = json!([scheme]);
        plans["configurations"]["2d"]["use_mask_for_norm"] = json!([true]);
        let plans = read(&plans, &golden("dataset.json"), "2d").unwrap();
        (plans.normalisation, plans.within_nonzero)
    };
    assert_eq!(normalisation("ZScoreNormalization"), (Normalisation::ZScore, true));
    assert_eq!(normalisation("RGBTo01Normalization"), (Normalisation::RgbTo01, false));
    assert_eq!(normalisation("NoNormalization"), (Normalisation::None, false));
    let (Normalisation::Ct(foreground), false) = normalisation("CTNormalization") else { panic!("this is CT") };
    assert_eq!((foreground.mean, foreground.sd), (123.9104995727539, 60.20487976074219));
    assert_eq!((foreground.percentile_00_5, foreground.percentile_99_5), (8.0, 255.0));
}

#[test]
fn what_is_not_understood_in_plans_is_refused_by_name() {
    let arguments = "/configurations/2d/architecture/arch_kwargs";
    for (place, value, words) in [
        ("/configurations/2d/patch_size", json!([32, 96, 96]), "patch_size has 3 numbers"),
        ("/configurations/2d/patch_size", json!([96, 100]), "do not divide the patch of [96, 100]"),
        ("/configurations/2d/patch_size", json!([0, 96]), "do not divide"),
        ("/configurations/2d/spacing", json!([1.0, 0.0]), "must be positive"),
        (
            "/configurations/2d/normalization_schemes",
            json!(["MyNormalization"]),
            "the normalisation is MyNormalization",
        ),
        ("/configurations/2d/normalization_schemes", json!(["A", "B", "C"]), "3 channels are normalised"),
        ("/transpose_forward", json!([0, 2, 1]), "transpose_forward is [0, 2, 1]"),
        (
            "/configurations/2d/architecture/network_class_name",
            json!("my.PlainConvUNet"),
            "network is my.PlainConvUNet",
        ),
        ("/configurations/2d/architecture", json!(null), "architecture is null"),
        ("conv_op", json!("torch.nn.modules.conv.Conv3d"), "conv_op is torch.nn.modules.conv.Conv3d"),
        ("norm_op", json!("torch.nn.BatchNorm2d"), "norm_op is torch.nn.BatchNorm2d"),
        ("norm_op_kwargs", json!({"eps": 1e-5}), "affine = true"),
        ("nonlin", json!(null), "nonlin is nothing"),
        ("kernel_sizes", json!([[3, 3], [3, 3], [3, 2], [3, 3]]), "even side 2"),
        ("strides", json!([2, 2, 2, 2]), "first stride is [2, 2]"),
        ("strides", json!([[1, 1, 1], 2, 2, 2]), "strides has 3 numbers"),
        ("features_per_stage", json!(10_000_000), "10000000 features"),
        ("features_per_stage", json!([8, 16]), "stages need as many"),
        ("n_stages", json!(1_000_000_000), "1000000000 stages"),
        ("n_stages", json!(0), "0 stages"),
        ("n_stages", json!("4"), "a setting is not understood"),
    ] {
        let mut plans = golden("plans.json");
        let place = if place.starts_with('/') { place.to_string() } else { format!("{arguments}/{place}") };
        *plans.pointer_mut(&place).unwrap() = value;
        let error = read(&plans, &golden("dataset.json"), "2d").unwrap_err().to_string();
        assert!(error.contains("plans.json: in its configuration 2d, ") && error.contains(words), "{error}");
    }
    for (argument, value) in [("squeeze_excitation", json!(true)), ("bottleneck_channels", json!(16))] {
        let mut plans = golden("plans.json");
        plans.pointer_mut(arguments).unwrap()[argument] = value;
        let error = read(&plans, &golden("dataset.json"), "2d").unwrap_err().to_string();
        assert!(error.contains(&format!("made with {argument} = ")), "{error}");
    }
    let mut plans = older();
    plans["configurations"]["2d"]["UNet_class_name"] = json!("UNETR");
    assert!(read(&plans, &golden("dataset.json"), "2d").unwrap_err().to_string().contains("the network is UNETR"));
}

#[test]
fn classes_and_channels_other_than_plain_ones_are_refused_by_name() {
    let ignoring = json!({"background": 0, "axon": 1, "ignore": 2});
    let mut dataset = golden("dataset.json");
    dataset["labels"] = ignoring;
    assert_eq!(read(&golden("plans.json"), &dataset, "2d").unwrap().classes, ["background", "axon"]);
    for (field, value, words) in [
        ("labels", json!({"background": 0, "fibre": [1, 2], "axon": 2}), "its class fibre is a region"),
        ("labels", json!({"0": "background", "1": "axon"}), "its class 0 has the label \"background\""),
        ("labels", json!({"background": 0, "axon": 2}), "its labels are [0, 2]"),
        (
            "labels",
            json!({"background": 0, "axon": 1, "myelin": 1}),
            "its classes axon and myelin have the same label 1",
        ),
        ("channel_names", json!({"0": "R", "1": "G", "2": "B"}), "its images have the channels R, G, B"),
        ("file_ending", json!(null), "not such a file of nnU-Net v2"),
    ] {
        let mut dataset = golden("dataset.json");
        dataset[field] = value;
        let error = read(&golden("plans.json"), &dataset, "2d").unwrap_err().to_string();
        assert!(error.contains("dataset.json: ") && error.contains(words), "{error}");
    }
}

#[test]
fn the_checkpoint_chooses_the_configuration_before_the_folder_does() {
    let folder = "nnUNetTrainer__nnUNetPlans__3d_fullres";
    assert_eq!(choose_configuration(Some("2d_small"), folder), "2d_small");
    assert_eq!(choose_configuration(None, folder), "3d_fullres");
    assert_eq!(choose_configuration(None, "model_seg_generalist_light"), "2d");
}
