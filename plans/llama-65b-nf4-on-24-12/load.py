# CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=1,0 python load.py
import json, torch; from transformers import AutoModelForCausalLM, BitsAndBytesConfig
device_map = json.load(open("device_map.json"))
model = AutoModelForCausalLM.from_pretrained("llama-65b", device_map=device_map, dtype=torch.float16, quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float16, bnb_4bit_use_double_quant=True))
