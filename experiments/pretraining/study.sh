python run.py -cd experiments/pretraining -cn study "$@"
python run.py -cd experiments/pretraining -cn vgg16 "$@"
python run.py -cd experiments/pretraining -cn long "$@"
python experiments/pretraining/figure.py runs/studies/pretraining
