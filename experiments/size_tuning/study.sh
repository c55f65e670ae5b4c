python run.py -cd experiments/surround -cn study "$@"
python run.py -cd experiments/size_tuning -cn study "$@"
python experiments/size_tuning/figure.py runs/studies/size_tuning/efficientnet_lite0
