"""Write a model with weights in float16, which takes half the space; charlm reads it as any model.

python docs/base/pack.py runs/english/best.safetensors data/english.safetensors
"""

import sys
from pathlib import Path

import numpy as np

from charlm.core.model_file import model_bytes, read_model

source, target = map(Path, sys.argv[1:])
model = read_model(source)
weights = {name: each.astype(np.float16) for name, each in model.parameters.tensors.items()}
target.write_bytes(model_bytes(model, tensors=weights))
