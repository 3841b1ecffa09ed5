"""Everything that will happen, decided and checked before any of it does."""
