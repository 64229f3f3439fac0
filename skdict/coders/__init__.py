"""Coders: sparse codes over any dictionary, given or learned; one file each."""
