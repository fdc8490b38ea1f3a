//! Files of tensors made by others: safetensors and PyTorch checkpoints, read to the host. Nothing in a file is executed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use pytorch_reader::{DType, PytorchReader};
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::nn::published::{HostTensor, HostTensors};

/// The tensors of a safetensors file and its metadata.
pub fn read_safetensors(path: &Path) -> Result<(HostTensors, HashMap<String, String>)> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    parse_safetensors(&bytes).map_err(|reason| Error::weights(path, reason))
}

/// The tensors and the metadata of a safetensors file's bytes; the error is the reason of the refusal.
pub fn parse_safetensors(bytes: &[u8]) -> std::result::Result<(HostTensors, HashMap<String, String>), String> {
    let explain = |error: safetensors::SafeTensorError| format!("it is not a complete safetensors file ({error})");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(explain)?;
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(explain)?
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            if view.dtype() != Dtype::F32 {
                return Err(format!("tensor {name} holds {:?}; only F32 is understood", view.dtype()));
            }
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            Ok((name, HostTensor { shape: view.shape().to_vec(), values }))
        })
        .collect::<std::result::Result<_, _>>()?;
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// The tensors of a PyTorch state dict (`.pth`, `.pt`). The prefix `module.`, which data-parallel training adds to every
/// key, is dropped.
pub fn read_pytorch(path: &Path) -> Result<HostTensors> {
    let refuse = |reason: String| Error::weights(path, reason);
    if !path.is_file() {
        return Err(refuse("there is no such file".into()));
    }
    let reader = PytorchReader::new(path)
        .map_err(|error| refuse(format!("it is not a complete PyTorch state dict of tensors ({error})")))?;
    let tensors: HostTensors = reader
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            if tensor.dtype() != DType::F32 {
                return Err(refuse(format!(
                    "tensor {name} holds {:?}; only 32-bit floats are understood",
                    tensor.dtype()
                )));
            }
            let bytes = tensor.read().map_err(Error::io("read", path))?;
            let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let name = name.strip_prefix("module.").unwrap_or(name).to_string();
            Ok((name, HostTensor { shape: tensor.shape().to_vec(), values }))
        })
        .collect::<Result<_>>()?;
    if tensors.is_empty() {
        return Err(refuse("it holds no tensors; give the file with the generator's weights (gen_…_N.pth)".into()));
    }
    Ok(tensors)
}
