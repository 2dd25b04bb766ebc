"""The model card of a version: its data, how it does and how surely, where it does worse, who approved it.

The sections follow Mitchell et al., *Model Cards for Model Reporting*, FAT* 2019.
"""
