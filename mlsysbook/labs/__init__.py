"""Student side of the labs: scenario, explore, decision, measure, ledger. Names are imported from `mlsysbook` itself."""
