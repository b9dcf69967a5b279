"""Lets SimpleTuner train without a GPU. It pins the memory of its tensors, which torch refuses there."""
import importlib.abc
import importlib.util
import sys


class Torch(importlib.abc.MetaPathFinder):
    """Changes torch when it is imported. To import it here would slow down each start of Python."""

    def find_spec(self, name, path, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            module.Tensor.pin_memory = lambda tensor, *_, **__: tensor

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Torch())
