python run.py -cd experiments/depth -cn study "$@"
python run.py -cd experiments/surround -cn study "$@"
python run.py -cd experiments/popout -cn study "$@"
python run.py -cd experiments/popout -cn baselines "$@"
python run.py -cd experiments/popout -cn natural "$@"
python run.py -cd experiments/popout -cn tuned "$@"
python run.py -cd experiments/popout -cn tuned_natural "$@"
python experiments/popout/figure.py runs/studies/popout
