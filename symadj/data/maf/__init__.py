"""The five tabular sets of the archive of Papamakarios et al. 2017 (Masked Autoregressive Flow).

Archive: DOI 10.5281/zenodo.1161203. Preprocessing and splits: github.com/gpapamak/maf, datasets/.
"""
