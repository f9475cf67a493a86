drawHead();
drawDecisions();
drawTrust();
drawModels();
drawCharts();
drawExplorer();
