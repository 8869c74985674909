"""One module or folder per training method: its parameters and its phases. Cheap to import; phases import torch."""
