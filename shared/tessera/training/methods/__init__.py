"""One module or folder a training method: its parameters and its phases. Cheap to import; phases import torch."""
