"""BibTeX for exactly the methods that a model uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from .errors import InputError, describe, explain

BIBLIOGRAPHY: dict[str, str] = {
    "basu2023equituning": """@inproceedings{basu2023equituning,
  title = {Equi-Tuning: Group Equivariant Fine-Tuning of Pretrained Models},
  author = {Basu, Sourya and Sattigeri, Prasanna and Natesan Ramamurthy, Karthikeyan and Chenthamarakshan, Vijil and
            Varshney, Kush R. and Varshney, Lav R. and Das, Payel},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year = {2023},
  eprint = {2210.06475},
  archiveprefix = {arXiv}
}""",
    "chaman2021truly": """@inproceedings{chaman2021truly,
  title = {Truly Shift-Invariant Convolutional Neural Networks},
  author = {Chaman, Anadi and Dokmani{\\'c}, Ivan},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2021},
  eprint = {2011.14214},
  archiveprefix = {arXiv}
}""",
    "cohen2016group": """@inproceedings{cohen2016group,
  title = {Group Equivariant Convolutional Networks},
  author = {Cohen, Taco S. and Welling, Max},
  booktitle = {International Conference on Machine Learning},
  year = {2016},
  eprint = {1602.07576},
  archiveprefix = {arXiv}
}""",
    "deng2021vector": """@inproceedings{deng2021vector,
  title = {Vector Neurons: A General Framework for {SO(3)}-Equivariant Networks},
  author = {Deng, Congyue and Litany, Or and Duan, Yueqi and Poulenard, Adrien and Tagliasacchi, Andrea and Guibas, Leonidas J.},
  booktitle = {International Conference on Computer Vision},
  year = {2021},
  eprint = {2104.12229},
  archiveprefix = {arXiv}
}""",
    "dosovitskiy2021image": """@inproceedings{dosovitskiy2021image,
  title = {An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale},
  author = {Dosovitskiy, Alexey and Beyer, Lucas and Kolesnikov, Alexander and Weissenborn, Dirk and Zhai, Xiaohua and
            Unterthiner, Thomas and Dehghani, Mostafa and Minderer, Matthias and Heigold, Georg and Gelly, Sylvain and
            Uszkoreit, Jakob and Houlsby, Neil},
  booktitle = {International Conference on Learning Representations},
  year = {2021},
  eprint = {2010.11929},
  archiveprefix = {arXiv}
}""",
    "duval2023faenet": """@inproceedings{duval2023faenet,
  title = {{FAENet}: Frame Averaging Equivariant {GNN} for Materials Modeling},
  author = {Duval, Alexandre and Schmidt, Victor and Hern{\\'a}ndez-Garc{\\'i}a, Alex and Miret, Santiago and
            Malliaros, Fragkiskos D. and Bengio, Yoshua and Rolnick, David},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  eprint = {2305.05577},
  archiveprefix = {arXiv}
}""",
    "dym2024equivariant": """@inproceedings{dym2024equivariant,
  title = {Equivariant Frames and the Impossibility of Continuous Canonicalization},
  author = {Dym, Nadav and Lawrence, Hannah and Siegel, Jonathan W.},
  booktitle = {International Conference on Machine Learning},
  year = {2024},
  eprint = {2402.16077},
  archiveprefix = {arXiv}
}""",
    "finzi2021practical": """@inproceedings{finzi2021practical,
  title = {A Practical Method for Constructing Equivariant Multilayer Perceptrons for Arbitrary Matrix Groups},
  author = {Finzi, Marc and Welling, Max and Wilson, Andrew Gordon},
  booktitle = {International Conference on Machine Learning},
  year = {2021},
  eprint = {2104.09459},
  archiveprefix = {arXiv}
}""",
    "kaba2023equivariance": """@inproceedings{kaba2023equivariance,
  title = {Equivariance with Learned Canonicalization Functions},
  author = {Kaba, S{\\'e}kou-Oumar and Mondal, Arnab Kumar and Zhang, Yan and Bengio, Yoshua and Ravanbakhsh, Siamak},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  eprint = {2211.06489},
  archiveprefix = {arXiv}
}""",
    "kim2023learning": """@inproceedings{kim2023learning,
  title = {Learning Probabilistic Symmetrization for Architecture Agnostic Equivariance},
  author = {Kim, Jinwoo and Nguyen, Tien Dat and Suleymanzade, Ayhan and An, Hyeokjun and Hong, Seunghoon},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  eprint = {2306.02866},
  archiveprefix = {arXiv}
}""",
    "lee2018bayesian": """@article{lee2018bayesian,
  title = {Bayesian Attitude Estimation With the Matrix {Fisher} Distribution on {SO(3)}},
  author = {Lee, Taeyoung},
  journal = {IEEE Transactions on Automatic Control},
  volume = {63},
  number = {10},
  pages = {3377--3392},
  year = {2018},
  eprint = {1710.03746},
  archiveprefix = {arXiv}
}""",
    "lebedev1999quadrature": """@article{lebedev1999quadrature,
  title = {A Quadrature Formula for the Sphere of the 131st Algebraic Order of Accuracy},
  author = {Lebedev, V. I. and Laikov, D. N.},
  journal = {Doklady Mathematics},
  volume = {59},
  number = {3},
  pages = {477--481},
  year = {1999}
}""",
    "lim2023sign": """@inproceedings{lim2023sign,
  title = {Sign and Basis Invariant Networks for Spectral Graph Representation Learning},
  author = {Lim, Derek and Robinson, Joshua and Zhao, Lingxiao and Smidt, Tess and Sra, Suvrit and Maron, Haggai and Jegelka, Stefanie},
  booktitle = {International Conference on Learning Representations},
  year = {2023},
  eprint = {2202.13013},
  archiveprefix = {arXiv}
}""",
    "lin2024minimal": """@inproceedings{lin2024minimal,
  title = {Equivariance via Minimal Frame Averaging for More Symmetries and Efficiency},
  author = {Lin, Yuchao and Helwig, Jacob and Gui, Shurui and Ji, Shuiwang},
  booktitle = {International Conference on Machine Learning},
  year = {2024},
  eprint = {2406.07598},
  archiveprefix = {arXiv}
}""",
    "ma2024canonicalization": """@inproceedings{ma2024canonicalization,
  title = {A Canonicalization Perspective on Invariant and Equivariant Learning},
  author = {Ma, George and Wang, Yifei and Lim, Derek and Jegelka, Stefanie and Wang, Yisen},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
  eprint = {2405.18378},
  archiveprefix = {arXiv}
}""",
    "mckay2014practical": """@article{mckay2014practical,
  title = {Practical Graph Isomorphism, {II}},
  author = {McKay, Brendan D. and Piperno, Adolfo},
  journal = {Journal of Symbolic Computation},
  volume = {60},
  pages = {94--112},
  year = {2014},
  eprint = {1301.1493},
  archiveprefix = {arXiv}
}""",
    "mclaren1963optimal": """@article{mclaren1963optimal,
  title = {Optimal Numerical Integration on a Sphere},
  author = {McLaren, A. D.},
  journal = {Mathematics of Computation},
  volume = {17},
  pages = {361--383},
  year = {1963}
}""",
    "mondal2023equivariant": """@inproceedings{mondal2023equivariant,
  title = {Equivariant Adaptation of Large Pretrained Models},
  author = {Mondal, Arnab Kumar and Panigrahi, Siba Smarak and Kaba, S{\\'e}kou-Oumar and Rajeswar, Sai and Ravanbakhsh, Siamak},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  eprint = {2310.01647},
  archiveprefix = {arXiv}
}""",
    "panigrahi2024improved": """@inproceedings{panigrahi2024improved,
  title = {Improved Canonicalization for Model Agnostic Equivariance},
  author = {Panigrahi, Siba Smarak and Mondal, Arnab Kumar},
  booktitle = {Workshop on Equivariant Vision, Conference on Computer Vision and Pattern Recognition},
  year = {2024},
  eprint = {2405.14089},
  archiveprefix = {arXiv}
}""",
    "pozdnyakov2023smooth": """@inproceedings{pozdnyakov2023smooth,
  title = {Smooth, Exact Rotational Symmetrization for Deep Learning on Point Clouds},
  author = {Pozdnyakov, Sergey N. and Ceriotti, Michele},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  eprint = {2305.19302},
  archiveprefix = {arXiv}
}""",
    "puny2022frame": """@inproceedings{puny2022frame,
  title = {Frame Averaging for Invariant and Equivariant Network Design},
  author = {Puny, Omri and Atzmon, Matan and Ben-Hamu, Heli and Misra, Ishan and Grover, Aditya and Smith, Edward J. and Lipman, Yaron},
  booktitle = {International Conference on Learning Representations},
  year = {2022},
  eprint = {2110.03336},
  archiveprefix = {arXiv}
}""",
    "rojasgomez2022learnable": """@inproceedings{rojasgomez2022learnable,
  title = {Learnable Polyphase Sampling for Shift Invariant and Equivariant Convolutional Networks},
  author = {Rojas-Gomez, Renan A. and Lim, Teck-Yian and Schwing, Alexander G. and Do, Minh N. and Yeh, Raymond A.},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2022},
  eprint = {2210.08001},
  archiveprefix = {arXiv}
}""",
    "xu2019powerful": """@inproceedings{xu2019powerful,
  title = {How Powerful are Graph Neural Networks?},
  author = {Xu, Keyulu and Hu, Weihua and Leskovec, Jure and Jegelka, Stefanie},
  booktitle = {International Conference on Learning Representations},
  year = {2019},
  eprint = {1810.00826},
  archiveprefix = {arXiv}
}""",
    "yarotsky2022universal": """@article{yarotsky2022universal,
  title = {Universal Approximations of Invariant Maps by Neural Networks},
  author = {Yarotsky, Dmitry},
  journal = {Constructive Approximation},
  volume = {55},
  pages = {407--474},
  year = {2022},
  eprint = {1804.10306},
  archiveprefix = {arXiv}
}""",
    "yeh2022equivariance": """@inproceedings{yeh2022equivariance,
  title = {Equivariance Discovery by Learned Parameter-Sharing},
  author = {Yeh, Raymond A. and Hu, Yuan-Ting and Hasegawa-Johnson, Mark and Schwing, Alexander G.},
  booktitle = {International Conference on Artificial Intelligence and Statistics},
  year = {2022},
  eprint = {2204.03640},
  archiveprefix = {arXiv}
}""",
    "zaheer2017deep": """@inproceedings{zaheer2017deep,
  title = {Deep Sets},
  author = {Zaheer, Manzil and Kottur, Satwik and Ravanbakhsh, Siamak and P{\\'o}czos, Barnab{\\'a}s and Salakhutdinov, Ruslan and
            Smola, Alexander J.},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017},
  eprint = {1703.06114},
  archiveprefix = {arXiv}
}""",
}


def cite(model: nn.Module) -> str:
    """BibTeX entries of the methods inside a model, sorted by key; an empty string when there are none.

    A method names its papers in an attribute ``references``, a tuple of keys of ``BIBLIOGRAPHY``.

    Args:
        model: a ``Symmetrized``, a frame, or any module that contains some.

    Raises:
        InputError: when ``model`` is not a module, or names a paper that the bibliography does not have.

    Example:
        >>> from coset import frames
        >>> from coset.cite import cite
        >>> print(cite(frames.PCA()).splitlines()[0])
        @inproceedings{puny2022frame,
    """
    if not isinstance(model, nn.Module):
        raise InputError(explain(f"{describe(model)} to cite", "a torch.nn.Module", "pass the symmetrized model or its frame"))
    keys: set[str] = set()
    for owner in _owners(model):
        for key in _keys(owner):
            if key not in BIBLIOGRAPHY:
                known = ", ".join(sorted(BIBLIOGRAPHY))
                raise InputError(
                    explain(
                        f"the reference {key!r} of {type(owner).__name__}", f"one of {known}", "add its BibTeX to coset.cite.BIBLIOGRAPHY"
                    )
                )
            keys.add(key)
    return "\n\n".join(BIBLIOGRAPHY[key] for key in sorted(keys))


def _owners(model: nn.Module) -> Iterator[Any]:
    """All modules, and the plain objects that they hold."""
    for module in model.modules():
        yield module
        yield from (value for name, value in vars(module).items() if not name.startswith("_") and not isinstance(value, type))


def _keys(owner: Any) -> tuple[str, ...]:
    found = getattr(owner, "references", ())
    return tuple(found) if isinstance(found, (tuple, list)) else ()
