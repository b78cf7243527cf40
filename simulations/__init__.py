"""The product's own ledgers and leases in virtual time, under whatever may befall them."""
