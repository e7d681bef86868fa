"""An exact, inspectable vision-feature cache for vision-language models on MLX."""
