"""A package, so that the environment which its tests share goes with the last of them."""
