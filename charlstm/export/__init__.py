"""Export of models: web pages, reports, learning curves and safetensors files."""
