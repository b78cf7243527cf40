"""One file per HTTP library; each translates, drives the exchange and hands the bytes on."""
